//! The claim: facts, decision, compare-and-set, attempt row, token, open conversation, in one transaction. Whoever wins a
//! message here may send it, once and soon; nobody else may.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result};

use super::deliver::Ended;
use super::openings::Openings;
use super::outcome::Unstored;
use super::pace::Pace;
use super::seen::Seen;
use super::{Engine, LEASE_DB, budget, entry, intake, legs, mydata, trial};
use crate::clock::{MINUTE, SECOND, instant};
use crate::domain::campaign::{Campaign, CampaignState};
use crate::domain::channel::Channel;
use crate::domain::code;
use crate::domain::contact::AskBasis;
use crate::domain::eligibility::{Cause, Cleared, Decision, Reason, decide};
use crate::domain::message::Kind;
use crate::domain::wording::{self, Wordings};
use crate::gateway::{Button, Outgoing, Refusal, Sent, Template};
use crate::store::campaigns::Decided;
use crate::store::codes::Made;
use crate::store::control::Health;
use crate::store::messages::{Batch, Claim, Claimant, Due, NotNow};
use crate::store::queue::{self, Job};
use crate::store::{self, Tx, campaigns, control, conversations, facts, messages};
use crate::vault;

/// Microseconds between two probes of a gateway whose breaker is open.
pub const PROBE_AFTER: i64 = 30 * SECOND;

/// One message on its way.
pub struct Letter {
    pub attempt: i64,
    pub due: Due,
    pub cleared: Cleared,
    pub outgoing: Outgoing,
}

impl Letter {
    /// Its outcome where nobody tried to send it.
    pub fn unsent(self, why: &str) -> (Due, i64, Sent) {
        (self.due, self.attempt, Sent::NotAccepted { why: Refusal::NotTried, error: why.into() })
    }
}

pub enum Claimed {
    Letters(Vec<Letter>),
    Not(Ended),
}

/// The claim: facts, decision, compare-and-set, attempt row, token, open conversation, in one transaction.
pub async fn claim(engine: &Engine, batch: &Batch, permits: usize, openings: &mut Openings) -> Result<Claimed> {
    let slice = vault::reference("slice");
    let mut tx = engine.store.write().await?;
    let now = engine.now();
    control::take_turn(&mut tx, &engine.controller).await?;
    if let Some(silence) = control::silence(&mut tx, &engine.controller, LEASE_DB).await? {
        return Ok(Claimed::Not(Ended::Silent(silence)));
    }
    let (permits, probing) = match gateway_lets(&mut tx, engine, &batch.gateway, now).await? {
        Lets::All => (permits, false),
        Lets::Probe => (1, true),
        Lets::None(until) => return Ok(Claimed::Not(Ended::Gateway(until))),
    };
    let mut due = messages::due(&mut tx, batch, now, permits as i64).await?;
    let campaign = match batch.campaign_id {
        Some(id) => campaigns::by_id(&mut tx, id).await?,
        None => None,
    };
    if let Some(row) = campaign.as_ref().filter(|row| row.state() == CampaignState::Running) {
        leave_replaced(&mut tx, engine, row, &mut due, now).await?;
    }
    // Only what asks waits for its campaign; an answer to a person's own act does not.
    let mut taken = 0;
    let asking = due.iter().filter(|d| d.kind().is_some_and(Kind::is_asking)).count();
    if let Some(row) = campaign.as_ref().filter(|_| asking > 0) {
        if row.state() != CampaignState::Running {
            return Ok(Claimed::Not(Ended::NotRunning));
        }
        let revision = engine.revision(&mut tx, row.revision_id).await?;
        if let Some(reason) = stop_if(&mut tx, row, &revision).await? {
            tracing::warn!(campaign.id = row.id, "Paused by its own stop_if");
            return pause(tx, engine, batch, row.id, &format!("{reason}; look, then `permesso campaign resume`"), probing).await;
        }
        let allowed = campaigns::take_allowance(&mut tx, row.id, asking as i64).await?;
        if allowed == 0 {
            let reason = "ramp-up: the first asks are out; look at the report, then `permesso campaign resume`";
            tracing::info!(campaign.id = row.id, "Paused after the ramp-up");
            return pause(tx, engine, batch, row.id, reason, probing).await;
        }
        due.truncate(usize::try_from(allowed).unwrap_or(0));
        taken = allowed;
    }

    let mut decided = Decisions::default();
    let mut pace = Pace::of(&mut tx, engine, batch, &due, now).await?;
    // Facts are read once a slice, so two numbers tied to one human since the plan would not see each other.
    let mut asked_here: HashSet<(String, i64)> = HashSet::new();
    let mut pen = Pen { engine, batch, now, wordings: Wordings::default() };
    let mut letters = Vec::with_capacity(due.len());
    let mut claims: Vec<Claim> = Vec::with_capacity(due.len());
    let mut codes: Vec<Made> = Vec::new();
    let mut by_family: BTreeMap<String, Vec<Due>> = BTreeMap::new();
    let ended: Vec<i64> = due.iter().filter(|d| d.kind() == Some(Kind::Code)).map(|d| d.id).collect();
    let ended = store::codes::ended(&mut tx, &engine.controller, &ended).await?;
    for row in due {
        by_family.entry(row.family.clone()).or_default().push(row);
    }
    let mut modes: BTreeMap<(i64, String), Vec<conversations::Opening>> = BTreeMap::new();
    for (family, rows) in by_family {
        let ids: Vec<i64> = rows.iter().map(|r| r.contact_id).collect();
        let people = facts::people(&mut tx, &family, &ids, now).await?;
        // What a reminder reminds of may have failed, or gone another way, since it was planned.
        let reminded: Vec<i64> = rows.iter().filter(|r| r.kind() == Some(Kind::Reminder)).map(|r| r.contact_id).collect();
        let arrived: HashSet<(i64, String)> = match reminded.is_empty() {
            true => HashSet::new(),
            false => messages::arrived_asks(&mut tx, &family, &reminded).await?.into_iter().collect(),
        };
        for row in rows {
            let Some(person) = people.get(&row.contact_id) else { continue };
            let revision = match row.revision_id {
                Some(id) => Some(engine.revision(&mut tx, id).await?),
                None => None,
            };
            let decision = match row.kind() {
                // It came back from the gateway after its person was erased.
                _ if person.number_enc.is_empty() => Decision::Skip(Reason::Erased),
                // Nobody looked for what had grown too old while no worker ran.
                _ if row.expires_at <= now => Decision::Skip(Reason::TooLate),
                // It came back from the gateway after another code had taken its place: it would complete nothing.
                Some(Kind::Code) if ended.contains(&row.id) => Decision::Skip(Reason::TooLate),
                Some(Kind::Test) => trial::verdict(engine, revision.as_deref(), person, openings, now)?,
                Some(Kind::Code) if row.wording.as_deref() == Some(intake::WORDING) => {
                    intake::verdict(engine, &person.facts, row.created_at, now)
                }
                _ => verdict(&row, person, revision.as_deref(), batch, openings, &arrived, now),
            };
            let asks = row.kind().is_some_and(Kind::is_asking);
            match decision {
                Decision::Send(_) if asks && person.marks.iter().any(|m| asked_here.contains(m)) => {
                    decided.put_off(&row, person, Decision::Wait { until: now + SECOND, because: Reason::AskCap });
                }
                // Gateways count a message's validity in minutes, so the last one is closed.
                Decision::Send(cleared) if asks && row.expires_at.min(cleared.valid_until()) < now + MINUTE => {
                    decided.put_off(
                        &row,
                        person,
                        Decision::Wait { until: row.expires_at.min(cleared.valid_until()), because: Reason::QuietHours },
                    );
                }
                Decision::Send(cleared) => {
                    if let Some((until, because)) = pace.holds(&row, now) {
                        decided.put_off(&row, person, Decision::Wait { until, because });
                        continue;
                    }
                    if asks {
                        asked_here.extend(person.marks.iter().cloned());
                    }
                    let (letter, claim, code) = pen.write(row, person, revision.as_deref(), cleared)?;
                    codes.extend(code);
                    if letter.due.kind().is_some_and(Kind::is_asking)
                        && let (Some(campaign), Some(id)) = (revision.as_deref(), letter.due.revision_id)
                    {
                        let mode = channel_of(&letter.due).and_then(|c| campaign.ask(c)).map_or("reply", |a| a.mode.code());
                        modes.entry((id, mode.to_owned())).or_default().push(conversations::Opening {
                            contact: letter.due.contact_id,
                            message: letter.due.id,
                            expires_at: now + campaign.link_days * crate::clock::DAY,
                        });
                    }
                    letters.push(letter);
                    claims.push(claim);
                }
                other => decided.put_off(&row, person, other),
            }
        }
    }

    budget::cover(&mut tx, engine, campaign.as_ref(), &mut letters, &mut claims).await?;
    let who = Claimant { slice: &slice, worker: &engine.worker, gateway: &batch.gateway };
    let won = messages::claim(&mut tx, &engine.controller, &who, &claims, now).await?;
    let won: BTreeMap<i64, i64> = won.into_iter().collect();
    budget::reserve(&mut tx, campaign.as_ref(), claims.iter().filter(|c| won.contains_key(&c.message))).await?;
    letters.retain_mut(|letter| won.get(&letter.due.id).map(|attempt| letter.attempt = *attempt).is_some());
    for ((revision, mode), mut opened) in modes {
        opened.retain(|o| won.contains_key(&o.message));
        conversations::open(&mut tx, &engine.controller, batch.campaign_id, Some(revision), &mode, &opened, now).await?;
    }
    codes.retain(|c| won.contains_key(&c.message));
    store::codes::made(&mut tx, &engine.controller, &codes, now + code::VALID).await?;
    let asked: BTreeMap<i64, (Kind, &str)> = letters
        .iter()
        .filter_map(|l| Some((l.due.id, (l.due.kind().filter(|k| k.is_asking())?, l.due.family.as_str()))))
        .collect();
    let mut marked: BTreeMap<(Kind, &str), Vec<&Claim>> = BTreeMap::new();
    for claim in &claims {
        if let Some(key) = asked.get(&claim.message) {
            marked.entry(*key).or_default().push(claim);
        }
    }
    for ((kind, family), claims) in marked {
        messages::mark_asked(&mut tx, &engine.controller, family, kind, &claims, now).await?;
    }
    decided.store(&mut tx, engine, batch, now).await?;
    if let Some(row) = campaign.as_ref() {
        let used = letters.iter().filter(|l| l.due.kind().is_some_and(Kind::is_asking)).count();
        campaigns::return_allowance(&mut tx, row.id, (taken - used as i64).max(0)).await?;
    }
    if probing && letters.is_empty() {
        end_probe(&mut tx, engine, &batch.gateway).await?;
    }
    if let Err(error) = tx.commit().await {
        // In doubt: it counts as not claimed unless our slice can be read back.
        tracing::warn!(%error, "The claim's commit is in doubt");
        let stored = read_back(engine, &slice).await;
        letters.retain(|l| stored.iter().any(|(_, attempt)| *attempt == l.attempt));
    }
    Ok(Claimed::Letters(letters))
}

/// A new plan applies to what came back from the gateway after its start, too: to be planned by it, or sent on by its other channel.
async fn leave_replaced(tx: &mut Tx, engine: &Engine, row: &campaigns::Row, due: &mut Vec<Due>, now: i64) -> Result<()> {
    let asks = due.iter().filter(|d| d.kind().is_some_and(Kind::is_asking));
    let earlier: Vec<i64> = asks.filter(|d| d.revision_id.is_some_and(|of| of != row.revision_id)).map(|d| d.id).collect();
    if earlier.is_empty() {
        return Ok(());
    }
    due.retain(|d| !earlier.contains(&d.id));
    let replaced = messages::replaced(tx, row.revision_id, &earlier, now).await?;
    if !replaced.is_empty() {
        // The planner may have passed them by while they were on their way.
        campaigns::set_progress(tx, row.id, 0, false).await?;
        queue::push(tx, &Job::Plan { campaign: row.id }, Duration::ZERO).await?;
    }
    if replaced.len() < earlier.len() {
        legs::carry_over(tx, engine, row.id).await?;
    }
    Ok(())
}

/// Pauses the campaign instead of claiming.
async fn pause(mut tx: Tx, engine: &Engine, batch: &Batch, campaign: i64, reason: &str, probing: bool) -> Result<Claimed> {
    campaigns::set_state(&mut tx, campaign, CampaignState::Paused, Some(reason)).await?;
    if probing {
        end_probe(&mut tx, engine, &batch.gateway).await?;
    }
    tx.commit().await?;
    Ok(Claimed::Not(Ended::NotRunning))
}

/// Why the campaign must pause by its own `stop_if`, if it must.
async fn stop_if(tx: &mut Tx, row: &campaigns::Row, campaign: &Campaign) -> Result<Option<String>> {
    let Some(limits) = campaign.limits.stop_if else { return Ok(None) };
    let base = row.stop_base.as_deref().and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    Ok(limits.breached(super::report::tally(tx, row.id).await?, base))
}

/// What of a slice was stored, asked until the database answers; nothing is claimed meanwhile.
async fn read_back(engine: &Engine, slice: &str) -> Vec<(i64, i64)> {
    let _unstored = Unstored::of(engine);
    loop {
        let answer = async {
            let mut tx = engine.store.read().await?;
            messages::claimed_by_slice(&mut tx, slice).await
        };
        match answer.await {
            Ok(stored) => return stored,
            Err(error) => tracing::error!(%error, "A slice in doubt cannot be read back; trying again"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn channel_of(due: &Due) -> Option<Channel> {
    Channel::parse(&due.channel)
}

/// Asks `decide` about one due message.
fn verdict(
    due: &Due,
    person: &facts::Person,
    campaign: Option<&Campaign>,
    batch: &Batch,
    openings: &mut Openings,
    arrived: &HashSet<(i64, String)>,
    now: i64,
) -> Decision {
    let kind = due.kind().unwrap_or(Kind::Test);
    match kind {
        Kind::Ask | Kind::Reminder => {
            let ask = campaign.zip(channel_of(due)).and_then(|(c, channel)| Some((c, c.ask(channel)?)));
            let Some((campaign, ask)) = ask else { return Decision::Skip(Reason::NotInSegment) };
            let opening = openings.of(campaign, person, now);
            let cause = Cause::Plan {
                kind,
                campaign,
                campaign_id: batch.campaign_id.unwrap_or(0),
                ask,
                message: Some(due.id),
                ask_arrived: arrived.contains(&(due.contact_id, due.channel.clone())),
                opening: &opening,
                today: instant(now).date_naive(),
            };
            decide(cause, &person.facts, now)
        }
        Kind::Confirm => decide(Cause::Confirm, &person.facts, now),
        Kind::Code => {
            let for_a_yes = due.wording.as_deref() != Some(mydata::WORDING);
            decide(Cause::Code { asked_at: due.created_at, for_a_yes }, &person.facts, now)
        }
        Kind::Ack | Kind::Help => {
            let new_no = due.acknowledges_a_new_no();
            let grant = due.acknowledges_a_grant();
            let answer = Cause::Answer { received_at: due.created_at, new_no, grant };
            // The confirmation once more is both.
            let again = due.wording.as_deref() == Some(conversations::CONFIRM);
            match again.then(|| decide(Cause::Confirm, &person.facts, now)) {
                Some(no) if !matches!(no, Decision::Send(_)) => no,
                _ => decide(answer, &person.facts, now),
            }
        }
        Kind::Test => Decision::Skip(Reason::NotATester),
    }
}

/// Writes a slice's messages.
struct Pen<'a> {
    engine: &'a Engine,
    batch: &'a Batch,
    now: i64,
    wordings: Wordings,
}

impl Pen<'_> {
    /// Renders a message and prepares its claim.
    fn write(
        &mut self,
        due: Due,
        person: &facts::Person,
        campaign: Option<&Campaign>,
        cleared: Cleared,
    ) -> Result<(Letter, Claim, Option<Made>)> {
        let Pen { engine, batch, now, wordings } = self;
        let now = *now;
        let kind = due.kind().context("a message of unknown kind")?;
        let token = vault::token();
        let ask = campaign.zip(channel_of(&due)).and_then(|(c, channel)| c.ask(channel));
        let text = match &due.wording {
            None => ask
                .and_then(|a| a.texts.get(&due.locale).or_else(|| a.texts.get(&campaign?.default_locale)))
                .context("the campaign has no wording for this message")?,
            Some(name) if name.starts_with(entry::WORDING) => {
                engine.config.text(entry::TEXT, &due.locale).with_context(|| format!("there is no wording `{}`", entry::TEXT))?
            }
            Some(name) => campaign
                .and_then(|c| c.text(name, &due.locale))
                .or_else(|| engine.config.text(name, &due.locale))
                .with_context(|| format!("there is no wording `{name}`"))?,
        };
        // A form's page is everybody's.
        let form = due.wording.as_deref().and_then(|name| name.strip_prefix(entry::WORDING));
        let link = form.map_or_else(|| engine.config.link(&token), |form| engine.config.form_link(form));
        // The digits are made here and leave with the message: no row ever holds them.
        let code = if kind == Kind::Code { vault::one_time_code() } else { String::new() };
        let made = (kind == Kind::Code).then(|| Made { message: due.id, mac: engine.vault.code_mac(due.id, &code) });
        let reply_number = ask.and_then(|a| a.sender.reply_number.clone()).unwrap_or_default();
        let brand = campaign.map_or(engine.config.controller.brand.as_str(), |c| c.brand.as_str());
        let rendered =
            wordings.render(text, &wording::Values { brand, link: &link, reply_number: &reply_number, code: &code })?;
        let to = engine.vault.decrypt_number(&person.number_enc)?;
        let valid_until = due.expires_at.min(cleared.valid_until());
        let reference = vault::reference(kind.reference_prefix());
        let channel = channel_of(&due).unwrap_or(Channel::Sms);
        // An answer in WhatsApp is a tap.
        let titles = campaign.zip(ask).filter(|(_, ask)| ask.has_buttons()).and_then(|(c, _)| c.titles(&due.locale));
        let shown = titles.as_ref().map_or_else(|| text.to_owned(), |titles| titles.under(kind, text));
        let buttons = titles.iter().flat_map(|titles| titles.of(kind));
        let buttons = buttons.map(|(tap, title)| Button { id: tap.id(&reference), title: title.to_owned() }).collect();
        let cost = match campaign.filter(|_| kind.is_asking()) {
            Some(campaign) => budget::cost(campaign, &batch.gateway, channel, person.facts.country.as_deref(), &rendered)?,
            None => 0,
        };
        let claim = Claim {
            basis: cleared.basis().map(AskBasis::code),
            message: due.id,
            contact: due.contact_id,
            reference,
            token_hash: Some(vault::token_hash(&token)),
            wording_hash: Some(crate::domain::ledger::body_hash(&shown)),
            send_before: cleared.send_before(),
            marks: if kind.is_asking() { person.marks.clone() } else { Vec::new() },
            cost,
        };
        let template = ask.filter(|_| !due.answers_a_message()).and_then(|ask| {
            let name = due.wording.as_deref().unwrap_or(&ask.template);
            let locale = if ask.texts.contains_key(&due.locale) || due.wording.is_some() {
                &due.locale
            } else {
                &campaign?.default_locale
            };
            let approved = ask.sender.template(name, locale)?;
            let value = |name: &String| match name.as_str() {
                "brand" => brand.to_owned(),
                "link" => link.clone(),
                "reply_number" => reply_number.clone(),
                _ => code.clone(),
            };
            Some(Template {
                id: approved.id.clone(),
                language: approved.language.clone(),
                values: approved.values.iter().map(value).collect(),
                names: if approved.named { approved.values.clone() } else { Vec::new() },
                link_suffix: approved.link_button.then(|| token.clone()),
            })
        });
        let outgoing = Outgoing {
            reference: claim.reference.clone(),
            from: engine.config.address_of(&batch.sender).to_owned(),
            to,
            channel,
            text: rendered,
            buttons,
            template,
            validity_s: ((valid_until - now) / SECOND).clamp(1, 48 * 3600),
        };
        Ok((Letter { attempt: 0, due, cleared, outgoing }, claim, made))
    }
}

/// What was not sent in this slice, to be stored with the claim.
#[derive(Default)]
struct Decisions {
    put_off: Vec<NotNow>,
    /// By revision and contact.
    recorded: BTreeMap<i64, BTreeMap<i64, Decided>>,
}

impl Decisions {
    fn put_off(&mut self, due: &Due, person: &facts::Person, decision: Decision) {
        let (state, reason, until, outcome) = match decision {
            Decision::Wait { until, because } => (None, because, until, "wait"),
            Decision::Skip(Reason::DeadlinePassed | Reason::TooLate) => (Some("lapsed"), Reason::DeadlinePassed, 0, "skip"),
            Decision::Skip(reason) => (Some("cancelled"), reason, 0, "skip"),
            Decision::Send(_) => return,
        };
        self.put_off.push(NotNow { message: due.id, state, reason: reason.code(), due_at: until });
        if due.kind() == Some(Kind::Ask) {
            let facts = Seen::of(person, &[]).json();
            let decided = Decided { contact: due.contact_id, outcome, code: reason.code(), basis: None, facts };
            self.recorded.entry(due.revision_id.unwrap_or(0)).or_default().insert(due.contact_id, decided);
        }
    }

    async fn store(self, tx: &mut Tx, engine: &Engine, batch: &Batch, now: i64) -> Result<()> {
        messages::put_off(tx, &self.put_off, now).await?;
        if let Some(campaign) = batch.campaign_id {
            for (revision, decided) in self.recorded {
                let decided: Vec<Decided> = decided.into_values().collect();
                campaigns::record(tx, &engine.controller, campaign, revision, "claim", &decided, now).await?;
            }
        }
        Ok(())
    }
}

enum Lets {
    All,
    Probe,
    None(Option<i64>),
}

async fn gateway_lets(tx: &mut Tx, engine: &Engine, gateway: &str, now: i64) -> Result<Lets> {
    // Nobody waits for a lock here as long as all is well: outcomes of other slices are being written meanwhile.
    if control::health_seen(tx, &engine.controller, gateway).await?.is_some_and(|h| h.is_clean() && h.throttled_until <= now) {
        return Ok(Lets::All);
    }
    let mut health = control::health(tx, &engine.controller, gateway).await?;
    if health.paused_at.is_some() {
        return Ok(Lets::None(None));
    }
    if health.throttled_until > now {
        return Ok(Lets::None(Some(health.throttled_until)));
    }
    if health.opened_at.is_none() {
        return Ok(Lets::All);
    }
    let probe_at = health.probe_at;
    // A probe whose process died is over after as long again.
    if now < probe_at || now < health.probing + PROBE_AFTER {
        return Ok(Lets::None(Some(probe_at.max(now + SECOND))));
    }
    health.probing = now;
    control::save_health(tx, &engine.controller, &health).await?;
    Ok(Lets::Probe)
}

async fn end_probe(tx: &mut Tx, engine: &Engine, gateway: &str) -> Result<()> {
    let health = control::health(tx, &engine.controller, gateway).await?;
    control::save_health(tx, &engine.controller, &Health { probing: 0, ..health }).await?;
    Ok(())
}
