//! What people answered, kept on the ask itself ([`domain::answer`](crate::domain::answer)): a campaign's figures add up to the people
//! asked, whatever conversations came and went. `suppressions` writes every no here.

use super::keep::{Ended, No};
use super::{Result, Tx, execute, json};
use crate::domain::answer::{Answer, By};
use crate::vault::Keyed;

/// Asks that left us, or may have, by one leg at least; `messages` unless another name is given.
macro_rules! left {
    () => {
        left!("messages")
    };
    ($m:literal) => {
        concat!(
            $m,
            ".kind = 'ask' AND (",
            $m,
            ".state NOT IN ('planned', 'cancelled', 'lapsed') OR ",
            $crate::store::messages::may_have_left!($m),
            ")"
        )
    };
}
/// The newest ask of its contact that left.
macro_rules! newest {
    () => {
        concat!("messages.id = (SELECT MAX(n.id) FROM messages n WHERE n.contact_id = messages.contact_id AND ", left!("n"), ")")
    };
}
pub(super) use {left, newest};

/// The answers that this one takes the place of, as rows for `EACH`; silence is the empty word.
pub(super) fn replaced(answer: Answer, by: By) -> String {
    let codes = answer.replaces(by).iter().map(|a| a.map_or("", Answer::code));
    json(codes.map(|code| serde_json::json!({ "code": code })).collect::<Vec<_>>())
}

/// The person said something: whatever it decides, they are not silent. It stands with the newest ask.
pub async fn replied(tx: &mut Tx, contact: i64, by: By, at: i64) -> Result<()> {
    execute!(
        tx,
        concat!(
            "UPDATE messages SET answer = $3, answer_by = $4, answered_at = $5
             WHERE contact_id = $2 AND COALESCE(answer, '') IN (SELECT j.value->>'code' FROM EACH($1)) AND ",
            left!(),
            " AND ",
            newest!()
        ),
        &replaced(Answer::Replied, by),
        contact,
        Answer::Replied.code(),
        by.code(),
        at
    )?;
    Ok(())
}

/// The person's own act in a conversation of this campaign, or what time made of it.
pub async fn give(tx: &mut Tx, contact: i64, campaign: i64, answer: Answer, now: i64) -> Result<()> {
    execute!(
        tx,
        concat!(
            "UPDATE messages SET answer = $4, answer_by = $5, answered_at = $6
             WHERE contact_id = $2 AND campaign_id = $3 AND COALESCE(answer, '') IN (SELECT j.value->>'code' FROM EACH($1)) AND ",
            left!()
        ),
        &replaced(answer, By::Person),
        contact,
        campaign,
        answer.code(),
        By::Person.code(),
        now
    )?;
    Ok(())
}

/// Permissions of this contact ended: where nothing granted is left, what was confirmed is withdrawn.
pub async fn ended(tx: &mut Tx, contact: i64, by: By, now: i64) -> Result<()> {
    execute!(
        tx,
        "UPDATE messages SET answer = $2, answer_by = $3, answered_at = $4 WHERE contact_id = $1 AND kind = 'ask' AND answer = 'confirmed'
           AND NOT EXISTS (SELECT 1 FROM contacts c JOIN preferences p ON p.controller = c.controller AND p.subject = c.subject
             WHERE c.id = messages.contact_id AND p.state = 'granted')",
        contact,
        Answer::Withdrawn.code(),
        by.code(),
        now
    )?;
    Ok(())
}

/// What a restore made of these noes, and of the ends of these consents, from `now` on was said when they were: figures by hour count it there.
pub async fn date(tx: &mut Tx, controller: &str, noes: &[No], ended: &[Ended], now: i64) -> Result<()> {
    execute!(
        tx,
        "UPDATE messages SET answered_at = w.at FROM (
           SELECT v.id, MAX(v.at) AS at FROM (
             SELECT n.contact_id AS id, CAST(j.value->>'at' AS BIGINT) AS at FROM EACH($1)
             THEN JOIN number_macs n ON n.controller = $3 AND n.mac = j.value->>'mac' AND n.key_id = CAST(j.value->>'key_id' AS BIGINT)
             UNION ALL
             SELECT c.id, CAST(j.value->>'since' AS BIGINT) FROM EACH($2)
             THEN JOIN contacts c ON c.controller = $3 AND c.subject = j.value->>'subject') AS v
           GROUP BY v.id) AS w
         WHERE messages.contact_id = w.id AND messages.answer_by = 'restore' AND messages.answered_at >= $4 AND w.at IS NOT NULL",
        json(noes),
        json(ended),
        controller,
        now
    )?;
    Ok(())
}

/// A number that was closed since the copy that was restored, because its person has another one, is nobody's wrong one: that is what an
/// operator said of it.
pub async fn number_changed(tx: &mut Tx, controller: &str, number: &Keyed) -> Result<()> {
    execute!(
        tx,
        "UPDATE messages SET answer_by = 'operator' WHERE answer = 'wrong_person' AND answer_by = 'restore' AND contact_id IN (
           SELECT n.contact_id FROM number_macs n WHERE n.controller = $1 AND n.mac = $2 AND n.key_id = $3)",
        controller,
        &number.mac,
        number.key_id
    )?;
    Ok(())
}
