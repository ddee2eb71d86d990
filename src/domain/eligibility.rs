//! One answer to "why was this person (not) contacted?": [`decide`]. Planning and delivery both call it, all seven kinds
//! of message go through it, and only it can make the [`Cleared`] value a gateway demands. There is no other door.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;

use super::campaign::{Ask, Campaign};
use super::channel::{Channel, Permission};
use super::code;
use super::contact::{AskBasis, BasisEvidence, BoxDefault, Kind, SoftOptIn};
use super::country::{CountryPack, Freshness, freshness};
use super::hours::Opening;
use super::ledger::NUMBER_CHANGED;
use super::message;
use super::register::Screened;
use super::suppression;
use super::times::Times;

/// After its claim a message may leave for this long and no longer (promise 2 allows 10 s in all; the rest is the request's).
pub const SEND_WITHIN_S: i64 = 5;

const DAY: i64 = 24 * 60 * 60 * 1_000_000;
const MINUTE: i64 = 60 * 1_000_000;

/// What the store knows about one person. Fetched for many people at once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    pub contact: i64,
    pub mobile: bool,
    pub country: Option<String>,
    pub kind: Option<Kind>,
    pub last_action: Option<NaiveDate>,
    pub evidence: Vec<BasisEvidence>,
    /// Every row of this person came from a purchased or unknown source.
    pub only_quarantined: bool,
    /// The use of the data of this person, by whatever number of the human, is restricted.
    pub restricted: bool,
    /// An objection, a restriction or an erasure of the human is noted, and not carried out yet.
    pub noted: bool,
    /// An unclear reply of the human waits for an operator.
    pub held: bool,
    /// When the person wants to be written to.
    pub times: Option<Times>,
    /// The live suppressions of this number and of every number of the same human: reason and time.
    pub suppressions: Vec<(suppression::Reason, i64)>,
    /// The number is closed because its person has another one: nobody said that it is somebody else's.
    pub number_changed: bool,
    /// Every ask of this person or the same human, whatever the campaign's name: when, and the message it was. A message that is
    /// sent by its second leg has a mark of its own here, which must hide nobody else's.
    pub asked: Vec<(i64, i64)>,
    /// The messages by which this human was asked in this family already.
    pub asked_in_family: Vec<i64>,
    pub reminded_in_family: Vec<i64>,
    /// When this human last answered between a copy of the database and its restoring: what they said is not here.
    pub answered_since: Option<i64>,
    pub granted: Vec<Permission>,
    /// What the opposition registers said of this number, one entry a register.
    pub screened: Vec<Screened>,
    /// Campaign of the open conversation and when its first yes was said.
    pub conversation: Option<Conversation>,
    /// Messages made for this person in the last 24 hours. Codes count once claimed: one still planned gives way to the next.
    pub confirms_today: i64,
    pub codes_today: i64,
    /// When the oldest of these codes was asked for, and when the newest was to leave.
    pub first_code: Option<i64>,
    pub last_code: Option<i64>,
    pub answers_today: i64,
    /// Those of them that told the person that their consent is complete.
    pub grants_told_today: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    pub campaign: Option<i64>,
    pub answered: bool,
    pub first_yes_at: Option<i64>,
}

/// What a message of one kind is decided against.
#[derive(Debug, Clone, Copy)]
pub enum Cause<'a> {
    /// An ask or a reminder: from a plan.
    Plan {
        kind: message::Kind,
        campaign: &'a Campaign,
        campaign_id: i64,
        ask: &'a Ask,
        /// The message being sent, so that its own mark does not count against it; `None` while planning.
        message: Option<i64>,
        /// The ask a reminder reminds of is accepted or better.
        ask_arrived: bool,
        opening: &'a Opening,
        today: NaiveDate,
    },
    Confirm,
    /// A one-time code asked for on the page then: for a yes, or to see one's own data.
    Code {
        asked_at: i64,
        for_a_yes: bool,
    },
    /// The one-time code of a form, asked for then. Anybody can type anybody's number there, so unlike on a person's own page every no
    /// stands; `pack` is that of the number's country.
    Form {
        asked_at: i64,
        pack: Option<&'a CountryPack>,
    },
    /// An acknowledgement or help: an inbound message received then.
    Answer {
        received_at: i64,
        /// It acknowledges a no that was not said before: whoever withdraws hears of it, whatever else was answered that day.
        new_no: bool,
        /// It tells the person that their consent is complete: no hint of that day takes its place.
        grant: bool,
    },
    Test {
        tester: bool,
        opening: &'a Opening,
    },
}

/// The right to send one message once, soon. Only [`decide`] makes one.
#[derive(Debug, Clone, PartialEq)]
pub struct Cleared {
    send_before: i64,
    valid_until: i64,
    basis: Option<AskBasis>,
}

impl Cleared {
    /// Microseconds UTC after which a gateway refuses it.
    pub fn send_before(&self) -> i64 {
        self.send_before
    }
    /// Until when the provider may go on trying: the end of the allowed hours, or the deadline.
    pub fn valid_until(&self) -> i64 {
        self.valid_until
    }
    pub fn basis(&self) -> Option<AskBasis> {
        self.basis
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    Send(Cleared),
    Wait { until: i64, because: Reason },
    Skip(Reason),
}

/// Every reason a person is not contacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    SuppressedObjection,
    SuppressedUnsub,
    AlreadyRefused,
    WrongPerson,
    NumberChanged,
    Erased,
    Restricted,
    HeldForOperator,
    AlreadyGranted,
    AnsweredSince,
    BadNumber,
    CountryBlocked,
    PackStale,
    SectorBlocked,
    RpoListed,
    RpoStale,
    ActiveCustomer,
    NotInSegment,
    SourceQuarantined,
    LegacyInvalid,
    NoAskBasis,
    ChannelNoOptin,
    ConditionsMissing,
    BasisExpired,
    SenderUnregistered,
    AskCap,
    OtherNumber,
    PlannedElsewhere,
    InConversation,
    CalendarMissing,
    DeadlinePassed,
    QuietHours,
    OwnTimes,
    AskNotArrived,
    AlreadyAnswered,
    DailyLimit,
    PairRate,
    SenderFull,
    TooLate,
    NotATester,
}

impl Reason {
    pub const ALL: [Reason; 40] = [
        Reason::SuppressedObjection,
        Reason::SuppressedUnsub,
        Reason::AlreadyRefused,
        Reason::WrongPerson,
        Reason::NumberChanged,
        Reason::Erased,
        Reason::Restricted,
        Reason::HeldForOperator,
        Reason::AlreadyGranted,
        Reason::AnsweredSince,
        Reason::BadNumber,
        Reason::CountryBlocked,
        Reason::PackStale,
        Reason::SectorBlocked,
        Reason::RpoListed,
        Reason::RpoStale,
        Reason::ActiveCustomer,
        Reason::NotInSegment,
        Reason::SourceQuarantined,
        Reason::LegacyInvalid,
        Reason::NoAskBasis,
        Reason::ChannelNoOptin,
        Reason::ConditionsMissing,
        Reason::BasisExpired,
        Reason::SenderUnregistered,
        Reason::AskCap,
        Reason::OtherNumber,
        Reason::PlannedElsewhere,
        Reason::InConversation,
        Reason::CalendarMissing,
        Reason::DeadlinePassed,
        Reason::QuietHours,
        Reason::OwnTimes,
        Reason::AskNotArrived,
        Reason::AlreadyAnswered,
        Reason::DailyLimit,
        Reason::PairRate,
        Reason::SenderFull,
        Reason::TooLate,
        Reason::NotATester,
    ];

    pub fn code(self) -> &'static str {
        self.words().0
    }

    /// The sentence shown to operators and to the person alike.
    pub fn sentence(self) -> &'static str {
        self.words().1
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Reason::SuppressedObjection => ("SUPPRESSED_OBJECTION", "The person said STOP: no marketing of any kind."),
            Reason::SuppressedUnsub => ("SUPPRESSED_UNSUB", "The person had unsubscribed before."),
            Reason::AlreadyRefused => ("ALREADY_REFUSED", "The person said no when asked; nobody is asked twice."),
            Reason::WrongPerson => ("WRONG_PERSON", "Whoever has this number now is not the person we knew."),
            Reason::NumberChanged => ("NUMBER_CHANGED", "The person has another number, and this one is closed."),
            Reason::Erased => ("ERASED", "The person asked to be erased; only a keyed note not to write remains."),
            Reason::Restricted => ("RESTRICTED", "Processing of this person's data is restricted (Art. 18 GDPR)."),
            Reason::HeldForOperator => {
                ("HELD_FOR_OPERATOR", "A reply was unclear; nothing is sent until an operator has read it.")
            }
            Reason::AlreadyGranted => ("ALREADY_GRANTED", "The person already allows everything this campaign asks for."),
            Reason::AnsweredSince => (
                "ANSWERED_SINCE",
                "The person answered after the copy of the database was made that was restored; what they said is in the one kept aside.",
            ),
            Reason::BadNumber => ("BAD_NUMBER", "The number is not a mobile number."),
            Reason::CountryBlocked => ("COUNTRY_BLOCKED", "No country pack allows writing to this country."),
            Reason::PackStale => ("PACK_STALE", "The country's rules were last reviewed too long ago."),
            Reason::SectorBlocked => ("SECTOR_BLOCKED", "The country bars this trade from marketing on this channel."),
            Reason::RpoListed => ("RPO_LISTED", "The number stands in the country's register of those who oppose marketing."),
            Reason::RpoStale => {
                ("RPO_STALE", "No recent screening against the country's opposition register covers this number.")
            }
            Reason::ActiveCustomer => ("ACTIVE_CUSTOMER", "An active customer: re-permission is not for them."),
            Reason::NotInSegment => ("NOT_IN_SEGMENT", "Outside the audience the campaign names."),
            Reason::SourceQuarantined => ("SOURCE_QUARANTINED", "The number comes from a bought or unknown source."),
            Reason::LegacyInvalid => ("LEGACY_INVALID", "The earlier consent came from a pre-ticked or bundled box."),
            Reason::NoAskBasis => ("NO_ASK_BASIS", "Nothing on record gives us the right to ask this person here."),
            Reason::ChannelNoOptin => ("CHANNEL_NO_OPTIN", "No opt-in on record for this channel."),
            Reason::ConditionsMissing => {
                ("CONDITIONS_MISSING", "A soft opt-in of which not all four conditions are on record is none.")
            }
            Reason::BasisExpired => {
                ("BASIS_EXPIRED", "The right to ask is too old: a consent is refreshed while it is valid, never revived.")
            }
            Reason::SenderUnregistered => ("SENDER_UNREGISTERED", "The sender is not registered in the person's country."),
            Reason::AskCap => ("ASK_CAP", "The person was already asked."),
            Reason::OtherNumber => {
                ("OTHER_NUMBER", "Another number of the same human is to be asked: one ask a person, however many numbers.")
            }
            Reason::PlannedElsewhere => ("PLANNED_ELSEWHERE", "Another campaign is about to ask the person the same."),
            Reason::InConversation => ("IN_CONVERSATION", "The person is in another campaign's open conversation."),
            Reason::CalendarMissing => ("CALENDAR_MISSING", "No moment of the campaign is known to be outside quiet hours."),
            Reason::DeadlinePassed => ("DEADLINE_PASSED", "The campaign's deadline comes before the next allowed moment."),
            Reason::QuietHours => ("QUIET_HOURS", "Quiet hours where the person lives."),
            Reason::OwnTimes => ("OWN_TIMES", "Outside the times that the person chose, or quiet hours where they live."),
            Reason::AskNotArrived => {
                ("ASK_NOT_ARRIVED", "The ask is not known to have been accepted, so nothing is there to remind of.")
            }
            Reason::AlreadyAnswered => ("ALREADY_ANSWERED", "The person has answered."),
            Reason::DailyLimit => ("DAILY_LIMIT", "The person got as many such messages as one day allows."),
            Reason::PairRate => ("PAIR_RATE", "WhatsApp takes one message in a few seconds to one person."),
            Reason::SenderFull => {
                ("SENDER_FULL", "The sender has written to as many people as WhatsApp lets it in 24 hours; a place will be free.")
            }
            Reason::TooLate => ("TOO_LATE", "An answer this late would only confuse."),
            Reason::NotATester => ("NOT_A_TESTER", "Not a number in [testers]."),
        }
    }

    /// Whether another channel may still be open to the person: the rules that look at the channel alone.
    pub fn is_of_channel(self) -> bool {
        matches!(
            self,
            Reason::NoAskBasis
                | Reason::ChannelNoOptin
                | Reason::ConditionsMissing
                | Reason::BasisExpired
                | Reason::SectorBlocked
                | Reason::SenderUnregistered
        )
    }

    /// The rule of the country pack that this reason comes from, if it is one of a country.
    pub fn pack_rule(self) -> Option<&'static str> {
        match self {
            Reason::SectorBlocked => Some("sectors"),
            Reason::RpoListed | Reason::RpoStale => Some("register"),
            Reason::NoAskBasis | Reason::ChannelNoOptin | Reason::ConditionsMissing => Some("ask_basis"),
            Reason::BasisExpired => Some("basis_age"),
            Reason::SenderUnregistered => Some("sender"),
            Reason::QuietHours | Reason::CalendarMissing => Some("hours"),
            _ => None,
        }
    }

    pub fn parse(code: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|r| r.code() == code)
    }

    /// The rule that a no is told as.
    pub fn of(suppression: suppression::Reason) -> Reason {
        match suppression {
            suppression::Reason::Refused => Reason::AlreadyRefused,
            suppression::Reason::UnsubscribedBefore => Reason::SuppressedUnsub,
            suppression::Reason::Stopped => Reason::SuppressedObjection,
            suppression::Reason::Erased => Reason::Erased,
            suppression::Reason::WrongPerson => Reason::WrongPerson,
        }
    }
}

/// The sentence for whatever a decision or a message names as its reason: a rule, a no, or what became of the campaign.
pub fn sentence(reason: &str) -> Option<&'static str> {
    rule(reason).map(Reason::sentence).or(match reason {
        "ELIGIBLE" => Some("Nothing speaks against asking."),
        "suppressed" => Some("Another number of the same human said no."),
        "campaign cancelled" => Some("The campaign was cancelled."),
        "planned anew" => Some("A newer plan made it anew."),
        "the person answered" => Some("The person's own answer proves that it arrived."),
        "window closed" => Some("WhatsApp took no free text: the person had not written for a day."),
        "worker lost" => Some("The worker that was sending it was lost."),
        _ => None,
    })
}

/// A reason as people read it: its sentence, with the code of a rule behind it: `The person was already asked (ASK_CAP).`
pub fn told(reason: &str) -> String {
    let code = rule(reason).map(Reason::code).or((reason == "ELIGIBLE").then_some(reason));
    match (sentence(reason), code) {
        (Some(sentence), Some(code)) => format!("{} ({code}).", sentence.trim_end_matches('.')),
        (Some(sentence), None) => sentence.to_owned(),
        (None, _) => format!("{}.", reason.trim_end_matches('.')),
    }
}

/// The rule that a reason names. A message that a no cancelled carries the suppression's own code.
pub fn rule(reason: &str) -> Option<Reason> {
    let changed = (reason == NUMBER_CHANGED).then_some(Reason::NumberChanged);
    Reason::parse(reason).or(changed).or_else(|| suppression::Reason::parse(reason).map(Reason::of))
}

/// The verdict about one message to one person at `now` (microseconds UTC), from the first rule that decides.
pub fn decide(cause: Cause<'_>, facts: &Facts, now: i64) -> Decision {
    let clear = |until: i64, basis| {
        let send_before = until.min(now + SEND_WITHIN_S * 1_000_000);
        Decision::Send(Cleared { send_before, valid_until: until, basis })
    };
    let barred = facts.restricted || facts.noted;
    match cause {
        Cause::Plan { .. } => match plan(cause, facts, now) {
            Ok((send_before, basis)) => clear(send_before, Some(basis)),
            Err(decision) => decision,
        },
        Cause::Confirm => {
            let yes = facts.conversation.as_ref().and_then(|c| c.first_yes_at);
            let newest_no = facts.suppressions.iter().map(|(_, at)| *at).max();
            if let Some(no) = strictest(facts).filter(|_| newest_no >= yes) {
                return Decision::Skip(no);
            }
            match () {
                _ if barred => Decision::Skip(Reason::Restricted),
                // The operator may say that it meant nothing.
                _ if facts.held => Decision::Wait { until: now + 5 * MINUTE, because: Reason::HeldForOperator },
                _ if yes.is_none() => Decision::Skip(Reason::AlreadyAnswered),
                _ if facts.confirms_today > 3 => Decision::Skip(Reason::DailyLimit),
                _ => clear(i64::MAX, None),
            }
        }
        // It answers the person's own POST, so neither a suppression nor quiet hours hold it; whoever comes back after a no has
        // one a day, but whoever wants to see their data has that right all the same.
        Cause::Code { asked_at, for_a_yes } => {
            let minute = facts.last_code.map(|at| at + MINUTE);
            let day = match (facts.suppressions.is_empty() || !for_a_yes, facts.codes_today) {
                (true, 5..) => facts.first_code.map(|at| at + DAY),
                (false, 1..) => facts.last_code.map(|at| at + DAY),
                _ => None,
            };
            match minute.max(day).filter(|until| now < *until) {
                _ if now > asked_at + code::VALID => Decision::Skip(Reason::TooLate),
                // To see what is stored, and to end the restriction, is what is left.
                _ if for_a_yes && barred => Decision::Skip(Reason::Restricted),
                Some(until) => Decision::Wait { until, because: Reason::DailyLimit },
                None => clear(i64::MAX, None),
            }
        }
        Cause::Form { asked_at, pack } => {
            let listed = |pack: &CountryPack| {
                pack.register.spares_asks
                    && facts.screened.iter().any(|s| Some(&s.register) == pack.register.name.as_ref() && s.listed_since.is_some())
            };
            match (strictest(facts), pack) {
                (Some(no), _) => Decision::Skip(no),
                _ if barred => Decision::Skip(Reason::Restricted),
                _ if facts.held => Decision::Skip(Reason::HeldForOperator),
                _ if !facts.mobile => Decision::Skip(Reason::BadNumber),
                (None, None) => Decision::Skip(Reason::CountryBlocked),
                (None, Some(pack)) if listed(pack) => Decision::Skip(Reason::RpoListed),
                (None, Some(_)) => decide(Cause::Code { asked_at, for_a_yes: true }, facts, now),
            }
        }
        Cause::Answer { received_at, new_no, grant } => match () {
            // Their no counts, and the page has told them that nothing is sent meanwhile.
            _ if facts.restricted => Decision::Skip(Reason::Restricted),
            // Whoever says no beside a letter hears of it as anybody does.
            _ if facts.noted && !new_no => Decision::Skip(Reason::Restricted),
            _ if now > received_at + 5 * MINUTE => Decision::Skip(Reason::TooLate),
            // A hint that a yes came too soon is no answer to the one that counts.
            _ if grant && facts.grants_told_today > 1 => Decision::Skip(Reason::DailyLimit),
            _ if facts.answers_today > 1 && !new_no && !grant => Decision::Skip(Reason::DailyLimit),
            _ => clear(received_at + 5 * MINUTE, None),
        },
        Cause::Test { tester, opening } => match (tester, window(opening)) {
            (false, _) => Decision::Skip(Reason::NotATester),
            (true, Ok(until)) => clear(until, None),
            (true, Err(decision)) => decision,
        },
    }
}

/// The rules of an ask or a reminder, strictest first.
fn plan(cause: Cause<'_>, facts: &Facts, now: i64) -> Result<(i64, AskBasis), Decision> {
    let Cause::Plan { kind, campaign, campaign_id, ask, message, ask_arrived, opening, today } = cause else {
        return Err(Decision::Skip(Reason::NotInSegment));
    };
    let skip = |reason| Err(Decision::Skip(reason));
    let channel = ask.channel;

    // No is final (promise 2).
    if let Some(no) = strictest(facts) {
        return skip(no);
    }
    if facts.restricted || facts.noted {
        return skip(Reason::Restricted);
    }
    if facts.held {
        return match kind {
            // The operator may say that it meant nothing, and then the person is one who has not answered.
            message::Kind::Reminder => Err(Decision::Wait { until: now + 5 * MINUTE, because: Reason::HeldForOperator }),
            _ => skip(Reason::HeldForOperator),
        };
    }
    if !facts.mobile {
        return skip(Reason::BadNumber);
    }

    // Is this a person the campaign is for?
    let Some(country) = &facts.country else {
        return skip(Reason::CountryBlocked);
    };
    let Some(pack) = campaign.packs.get(country).filter(|_| campaign.countries.contains(country)) else {
        // Where no pack governs nobody is asked by any campaign, +1 least of all.
        return skip(if campaign.governed.contains(country) { Reason::NotInSegment } else { Reason::CountryBlocked });
    };
    let sector = campaign.sector.as_deref();
    let (_, reviewed) = pack.oldest(ask, sector);
    if freshness(reviewed, today, campaign.pack_stale_days, campaign.pack_warn_days) == Freshness::Stale {
        return skip(Reason::PackStale);
    }
    if pack.blocks(sector, channel) {
        return skip(Reason::SectorBlocked);
    }
    match Kind::on(today, facts.kind, facts.last_action, campaign.dormant_after_days) {
        Kind::Customer => return skip(Reason::ActiveCustomer),
        kind if !campaign.kinds.contains(&kind) => return skip(Reason::NotInSegment),
        _ => {}
    }
    if !campaign.asks_for.is_empty() && campaign.asks_for.iter().all(|p| facts.granted.contains(p)) {
        return skip(Reason::AlreadyGranted);
    }
    let cap_starts = now - campaign.cap_days * DAY;
    // It may have been a yes: nobody is asked for it again because our copy is old.
    if facts.answered_since.is_some_and(|at| at > cap_starts) {
        return skip(Reason::AnsweredSince);
    }

    // No ask without a right to ask (promise 1).
    let basis = right_to_ask(facts, pack, channel, today).map_err(Decision::Skip)?;
    if let Some(name) = &pack.register.name {
        let screened = facts.screened.iter().find(|s| s.register == *name);
        if pack.register.spares_asks && screened.is_some_and(|s| s.listed_since.is_some()) {
            return skip(Reason::RpoListed);
        }
        if pack.register.needed_for_asks && !pack.register.is_fresh(screened, now) {
            return skip(Reason::RpoStale);
        }
    }
    if !pack.takes_sender(&ask.sender, today) {
        return skip(Reason::SenderUnregistered);
    }

    // Never twice (promise 3).
    let mine = |other: i64| message == Some(other);
    match kind {
        message::Kind::Reminder => {
            if !ask_arrived {
                return skip(Reason::AskNotArrived);
            }
            if facts.conversation.as_ref().is_none_or(|c| c.answered) {
                return skip(Reason::AlreadyAnswered);
            }
            if facts.reminded_in_family.iter().any(|m| !mine(*m)) {
                return skip(Reason::AskCap);
            }
        }
        _ => {
            if facts.asked_in_family.iter().any(|m| !mine(*m)) {
                return skip(Reason::AskCap);
            }
            if facts.asked.iter().any(|(at, m)| *at > cap_starts && !mine(*m)) {
                return skip(Reason::AskCap);
            }
            if facts.conversation.as_ref().is_some_and(|c| c.campaign != Some(campaign_id)) {
                return skip(Reason::InConversation);
            }
            // An ask that moved to the next channel, and the person answered the first one after all.
            if facts.conversation.as_ref().is_some_and(|c| c.answered) {
                return skip(Reason::AlreadyAnswered);
            }
        }
    }

    let deadline = campaign.deadline.timestamp_micros();
    if now >= deadline {
        return skip(Reason::DeadlinePassed);
    }
    // At most as often as the person wants it: their own time between two messages, whatever the campaign's.
    let often = facts.times.as_ref().and_then(|times| times.at_most).map(|often| often.days() * DAY);
    let newest = facts.asked.iter().filter(|(_, m)| !mine(*m)).map(|(at, _)| *at).max();
    let waits = match (often.zip(newest).map(|(days, at)| at + days), window(opening)) {
        (Some(until), _) if now < until => Err(Decision::Wait { until, because: Reason::OwnTimes }),
        // With times of their own it cannot be told apart whose hours are closed.
        (_, Err(Decision::Wait { until, .. })) if facts.times.is_some() => {
            Err(Decision::Wait { until, because: Reason::OwnTimes })
        }
        (_, Err(Decision::Skip(_))) if facts.times.is_some() => Err(Decision::Skip(Reason::OwnTimes)),
        (_, other) => other,
    };
    match waits {
        Ok(until) => Ok((until.min(deadline), basis)),
        Err(Decision::Wait { until, .. }) if until >= deadline => skip(Reason::DeadlinePassed),
        Err(decision) => Err(decision),
    }
}

/// The evidence that gives the right to ask, or why none does. Every row was kept; the best valid one counts.
fn right_to_ask(facts: &Facts, pack: &CountryPack, channel: Channel, today: NaiveDate) -> Result<AskBasis, Reason> {
    if facts.only_quarantined {
        return Err(Reason::SourceQuarantined);
    }
    // One invalid way of collecting does not spoil another, valid one.
    let (valid, invalid): (Vec<_>, Vec<_>) = facts
        .evidence
        .iter()
        .filter(|e| !e.evidence.trim().is_empty() && e.date <= today)
        .partition(|e| e.basis != AskBasis::PriorConsent || e.box_default == BoxDefault::Unticked);
    let mut left: Vec<&BasisEvidence> = valid
        .into_iter()
        .filter(|e| e.basis != AskBasis::OtherApproved || e.approver.as_deref().is_some_and(|a| !a.trim().is_empty()))
        .filter(|e| pack.allows(e.basis, channel))
        .collect();
    if left.is_empty() {
        return Err(if invalid.is_empty() { Reason::NoAskBasis } else { Reason::LegacyInvalid });
    }
    let (mut reached, mut proved) = (false, false);
    left.retain(|e| {
        let conditions =
            e.basis != AskBasis::SoftOptIn || SoftOptIn::ALL.iter().all(|condition| e.conditions.contains(condition));
        let reaches = e.channels.contains(&channel);
        reached |= reaches;
        proved |= reaches && conditions;
        reaches && conditions && pack.in_time(e, facts.last_action, today)
    });
    left.iter().map(|e| e.basis).min().ok_or(match (reached, proved) {
        (false, _) => Reason::ChannelNoOptin,
        (true, false) => Reason::ConditionsMissing,
        (true, true) => Reason::BasisExpired,
    })
}

fn strictest(facts: &Facts) -> Option<Reason> {
    let (no, _) = facts.suppressions.iter().copied().max()?;
    match no {
        suppression::Reason::WrongPerson if facts.number_changed => Some(Reason::NumberChanged),
        no => Some(Reason::of(no)),
    }
}

fn window(opening: &Opening) -> Result<i64, Decision> {
    let micros = |at: &DateTime<Utc>| at.timestamp_micros();
    match opening {
        Opening::Open { until } => Ok(micros(until)),
        Opening::Opens { at } => Err(Decision::Wait { until: micros(at), because: Reason::QuietHours }),
        Opening::Never => Err(Decision::Skip(Reason::CalendarMissing)),
    }
}
