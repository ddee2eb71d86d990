//! What a provider may write and a store cannot take, made so that both can: the one door between what a driver read and the tables.
//! One event that no store takes would otherwise take its whole call with it, and the STOP beside it would be lost.

use crate::gateway::Event;
use crate::vault;

/// Longest id kept as it came, bytes: ids are indexed, and an index entry of Postgres holds 2,704 bytes at most.
const LONGEST_ID: usize = 512;
/// Longest other text kept in the clear, characters.
const LONGEST_TEXT: usize = 2_000;

/// An id that can be stored and looked up: itself, or its hash where it has a NUL (Postgres has no such character in a text) or is too
/// long. The same id is always the same one, and two ids stay two.
pub(super) fn id(id: &str) -> String {
    match id.len() > LONGEST_ID || id.contains('\0') {
        true => format!("sha256:{}", vault::token_hash(id)),
        false => id.to_owned(),
    }
}

/// Other text that stands in the clear: an address of ours, the words about an error.
pub(super) fn text(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(LONGEST_TEXT).collect()
}

/// The event as it can be stored. What people wrote stays as it is, since it is stored encrypted.
pub(super) fn event(event: &Event) -> Event {
    let mut event = event.clone();
    let ids = |wanted: &mut Option<String>| *wanted = wanted.as_deref().map(id);
    match &mut event {
        Event::Receipt { event_id, provider_id, reference, error, status: _, class: _, at: _, user: _ } => {
            (*event_id, *provider_id) = (id(event_id), id(provider_id));
            ids(reference);
            *error = error.as_deref().map(text);
        }
        Event::Unreadable { event_id, body: _, why: _ } => *event_id = id(event_id),
        Event::Note { event_id, body: _, pause } => {
            *event_id = id(event_id);
            *pause = pause.as_deref().map(text);
        }
        // What was heard is kept as a hash alone, as users' ids are.
        Event::Answered { said: _, at: _ } => {}
        Event::Inbound { event_id, answers, to, button, from: _, user: _, channel: _, text: _, at: _, handled: _, again: _ } => {
            (*event_id, *to) = (id(event_id), text(to));
            ids(answers);
            ids(button);
        }
    }
    event
}
