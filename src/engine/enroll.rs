//! The contact of a number that was never imported: of a tester, of somebody who came by themselves, or somebody's new one. No campaign looks
//! at it.

use anyhow::Result;

use super::{Engine, import, rights};
use crate::domain::phone::PhoneNumber;
use crate::store::contacts::{self, Enrolled};
use crate::store::humans::{self, Tie};
use crate::store::{Tx, inbound};
use crate::vault::{self, Keyed};

/// The contact of this number; where there is none, one without any imported row.
pub async fn contact(tx: &mut Tx, engine: &Engine, number: &PhoneNumber, country: &str) -> Result<i64> {
    let keyed = engine.vault.keyed_all(number);
    match contacts::by_number(tx, &engine.controller, &keyed).await? {
        Some(known) => Ok(known.id),
        None => Ok(add(tx, engine, number, country, &keyed).await?.0),
    }
}

/// A contact of this number, which is none yet: its id and its pseudonym. What its number wrote before, and nobody could read, holds it as
/// it would an imported one, it belongs to the human to whom a list's rejected row tied its number, with every no of theirs, and a
/// restriction on record restricts it. The caller has the turn of imports (`humans::take_turn`).
pub(super) async fn add(
    tx: &mut Tx,
    engine: &Engine,
    number: &PhoneNumber,
    country: &str,
    keyed: &[Keyed],
) -> Result<(i64, String)> {
    let new = Enrolled {
        subject: format!("s{}", vault::token()),
        number_enc: engine.vault.encrypt_number(number)?,
        key_id: engine.vault.key_id(),
        country: country.to_owned(),
        line: number.line().code(),
    };
    let id = contacts::enroll(tx, &engine.controller, &new, keyed, engine.now()).await?;
    let tied = humans::tie(tx, &engine.controller, &[Tie { number: keyed.to_vec(), id: None }]).await?;
    rights::restrict_as_requested(tx, engine, keyed).await?;
    import::spread(tx, engine, &tied, engine.now()).await?;
    inbound::adopt(tx, &engine.controller, engine.now()).await?;
    Ok((id, new.subject))
}
