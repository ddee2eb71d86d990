//! Links to a person's own page that an operator hands over by letter or mail. They open what the link of a message opens.

use super::messages::Attempt;
use super::{Result, Tx, execute, fetch_all, fetch_optional};

/// A link as it is handed over: what its page wants to know of the message that never was.
#[derive(Debug, Clone)]
pub struct New<'a> {
    pub token_hash: &'a str,
    pub contact: i64,
    /// By which channel and sender the code goes that completes a yes.
    pub channel: &'a str,
    pub sender: &'a str,
    pub locale: &'a str,
    pub by: &'a str,
}

pub async fn add(tx: &mut Tx, controller: &str, new: &New<'_>, now: i64) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO handed_links (controller, token_hash, contact_id, channel, sender, locale, by_whom, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        controller,
        new.token_hash,
        new.contact,
        new.channel,
        new.sender,
        new.locale,
        new.by,
        now
    )?;
    Ok(())
}

/// The link behind this token's hash, as if a code of a form had carried it (which no campaign asks either): of no message, and by a
/// reference that leads here.
pub async fn by_token(tx: &mut Tx, controller: &str, token_hash: &str) -> Result<Option<Attempt>> {
    fetch_optional!(
        tx,
        "SELECT CAST(0 AS BIGINT) AS id, CAST(0 AS BIGINT) AS message_id, 'link-' || CAST(l.id AS TEXT) AS reference,
           CAST(NULL AS TEXT) AS wording_hash, l.at AS claimed_at, 'accepted' AS outcome, l.contact_id, CAST(NULL AS BIGINT) AS campaign_id,
           CAST(NULL AS BIGINT) AS revision_id, 'code' AS kind, l.locale, 'delivered' AS state, l.channel, l.sender,
           FALSE AS moved_on, CAST(NULL AS TEXT) AS basis
         FROM handed_links l WHERE l.controller = $1 AND l.token_hash = $2",
        controller,
        token_hash
    )
}

/// When a link of this contact's was handed over, and by whom, oldest first.
pub async fn of_contact(tx: &mut Tx, contact: i64) -> Result<Vec<(i64, String)>> {
    fetch_all!(tx, "SELECT at, by_whom FROM handed_links WHERE contact_id = $1 ORDER BY id", contact)
}
