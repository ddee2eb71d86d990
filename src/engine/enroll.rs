//! The contact of a number that was never imported: of a tester, or of somebody who gave it on a form. No campaign looks at it.

use anyhow::Result;

use super::Engine;
use crate::domain::phone::{Line, PhoneNumber};
use crate::store::contacts::{self, Enrolled};
use crate::store::{Tx, inbound};
use crate::vault;

/// The contact of this number; where there is none, one without any imported row. What its number wrote before, and nobody could read,
/// holds it as it would an imported one.
pub async fn contact(tx: &mut Tx, engine: &Engine, number: &PhoneNumber, country: &str) -> Result<i64> {
    let keyed = engine.vault.keyed_all(number);
    if let Some(known) = contacts::by_number(tx, &engine.controller, &keyed).await? {
        return Ok(known.id);
    }
    let new = Enrolled {
        subject: format!("s{}", vault::token()),
        number_enc: engine.vault.encrypt_number(number)?,
        key_id: engine.vault.key_id(),
        country: country.to_owned(),
        line: if matches!(number.line(), Line::Mobile | Line::MobileOrLandline) { "mobile" } else { "other" },
    };
    let id = contacts::enroll(tx, &engine.controller, &new, &keyed, engine.now()).await?;
    inbound::adopt(tx, &engine.controller, engine.now()).await?;
    super::rights::restrict_as_requested(tx, engine).await?;
    Ok(id)
}
