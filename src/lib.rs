//! Permesso asks people by SMS or WhatsApp whether a company may (still) write to them, keeps their answer as proof, and
//! lets nobody write to those who said no or said nothing. ARCHITECTURE.md is the map.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crash;
pub mod domain;
pub mod engine;
pub mod gateway;
pub mod store;
pub mod vault;
pub mod web;
pub mod worker;
