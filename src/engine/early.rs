//! A yes by message that completes nothing: it came too soon after the confirmation, or before there was a choice to confirm. The record says
//! why, and who may believe to have confirmed hears once what is left to do.

use anyhow::Result;

use super::confirm::Situation;
use crate::clock::MINUTE;
use crate::domain::campaign::Mode;
use crate::domain::consent::State;
use crate::store::{Tx, contacts};

/// Why a yes completes nothing.
pub(super) struct Early {
    /// The word for the record.
    pub effect: &'static str,
    /// The person is told how to confirm. It goes as help does: one a number and day, within minutes or never, and it grants nothing. A yes
    /// must come as long after it as after the confirmation itself, so that whatever answers every message by itself gains nothing.
    pub tell: bool,
}

/// `None` where the yes is taken. `second`: late enough to be another act than the first; `at`: when it counts.
pub(super) async fn of(tx: &mut Tx, situation: &Situation, second: bool, tapped: bool, at: i64) -> Result<Option<Early>> {
    let Some(early) = unheld(situation, second, tapped, at) else { return Ok(None) };
    // What is unclear, by whatever number of theirs, may be a no.
    Ok(Some(Early { tell: early.tell && !contacts::is_held(tx, situation.contact.id).await?, ..early }))
}

fn unheld(situation: &Situation, second: bool, tapped: bool, at: i64) -> Option<Early> {
    let conversation = situation.conversation.as_ref()?;
    let (effect, tell) = match (situation.mode(), situation.state()?) {
        (Mode::LinkReply | Mode::LinkCode, State::Asked) => ("not taken as a yes: nothing was chosen on the page yet", false),
        (Mode::LinkCode, State::Pending) => ("not taken as the second yes: only the code typed on the page is", false),
        (Mode::Reply | Mode::LinkReply, State::Pending) if second => return None,
        (_, State::Pending) if tapped => ("taken as the first yes said again: its button stands under the ask", false),
        (Mode::LinkReply, State::Pending) => {
            ("not taken as the second yes: it was said before the choice was sent from the page", true)
        }
        (Mode::Reply, State::Pending) => {
            // Until the confirmation is with the person it will say itself what to do; one that did not get there says nothing.
            let stuck = conversation.first_yes_at.is_some_and(|first| at >= first + MINUTE);
            let tell = conversation.confirm_accepted_at.is_some() || stuck;
            ("taken as the first yes said again: it came before the confirmation had been there for 10 seconds", tell)
        }
        _ => return None,
    };
    Some(Early { effect, tell })
}
