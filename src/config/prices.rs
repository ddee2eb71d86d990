//! Reads `prices.toml`: what gateways charge, a row a gateway, country and channel. A folder without it knows no prices.

use std::collections::BTreeMap;
use std::path::Path;

use super::GatewayConfig;
use super::accounts;
use super::problem::{Problem, Problems};
use super::read::{self, File, Table};
use super::values;
use crate::domain::channel::Channel;
use crate::domain::plural::counted;
use crate::domain::price::Price;

/// The file beside `permesso.toml`.
pub const FILE: &str = "prices.toml";

pub fn read(dir: &Path, gateways: &[GatewayConfig], found: &mut Vec<Problem>) -> Vec<Price> {
    let path = dir.join(FILE);
    if !path.exists() {
        return Vec::new();
    }
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(Problems(problems)) => {
            found.extend(problems);
            return Vec::new();
        }
    };
    let prices = {
        let tree = file.parse();
        if file.is_sound() { rows(&Table::root(&file, &tree), gateways) } else { Vec::new() }
    };
    found.extend(file.found());
    prices
}

fn rows(root: &Table, gateways: &[GatewayConfig]) -> Vec<Price> {
    let mut prices: Vec<Price> = Vec::new();
    // Where each gateway that permesso.toml does not have is first named, and how often: a renamed one is one mistake.
    let mut unknown: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for table in root.tables("price") {
        let gateway = table.need::<String>("gateway");
        if table.has("gateway") && !gateways.iter().any(|known| known.name() == gateway) {
            unknown.entry(gateway.clone()).or_insert((table.line("gateway"), 0)).1 += 1;
        }
        let country = table.read_needed("country", accounts::country);
        let channel = table.read_or("channel", "sms", |text| match Channel::parse(text) {
            Some(channel @ (Channel::Sms | Channel::WhatsApp)) => Ok(channel),
            _ => Err((format!("`{text}` is no channel to send on"), "write sms or whatsapp".into())),
        });
        let price = table.read_needed("price", values::money);
        table.end();
        let (Some(country), Some(channel), Some(price)) = (country, channel, price) else { continue };
        if prices.iter().any(|other| (&other.gateway, &other.country, other.channel) == (&gateway, &country, channel)) {
            table.note("price", format!("there is another price of {gateway} for {} to {country}", channel.code()), "keep one");
        }
        prices.push(Price { gateway, channel, country, price });
    }
    for (gateway, (line, rows)) in unknown {
        let known: Vec<&str> = gateways.iter().map(GatewayConfig::name).collect();
        let of = if rows > 1 { format!(", and {} of it stand here", counted(rows, "price", "prices")) } else { String::new() };
        let remedy = format!("{}; or take its prices out", read::one_of(known, "add it as a [[gateway]]"));
        root.file.note(line, "price.gateway", format!("permesso.toml has no gateway `{gateway}`{of}"), remedy);
    }
    root.end();
    prices
}
