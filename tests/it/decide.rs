//! Every rule of `decide` by itself and on its edge, and that of two the stricter one decides. Pure: no database, no gateway.

use std::path::Path;
use std::sync::LazyLock;

use chrono::{DateTime, Duration, NaiveDate, Utc};
use permesso::config::Config;
use permesso::domain::campaign::{Campaign, Registration, RegistrationState};
use permesso::domain::channel::{Channel, Permission};
use permesso::domain::code;
use permesso::domain::contact::{AskBasis, BasisEvidence, BoxDefault, Kind as Person, SoftOptIn};
use permesso::domain::country::CountryPack;
use permesso::domain::eligibility::{Cause, Conversation, Decision, Facts, Reason, SEND_WITHIN_S, decide};
use permesso::domain::hours::Opening;
use permesso::domain::message::Kind;
use permesso::domain::register::Screened;
use permesso::domain::suppression;
use permesso::domain::times::{Often, Times};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const DAY: i64 = 24 * 60 * MINUTE;
/// The message that is decided, and another one.
const MINE: i64 = 7;
const OTHER: i64 = 8;
const CAMPAIGN: i64 = 3;

/// The campaign that ships.
static SHIPPED: LazyLock<Campaign> = LazyLock::new(|| {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    Config::load(&shipped).expect("sound settings").campaign("rinnovo-consensi").expect("a sound campaign")
});

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

fn day(text: &str) -> NaiveDate {
    text.parse().expect("a day")
}

/// One message to one person against whom nothing speaks; each case changes something.
#[derive(Clone)]
struct Case {
    facts: Facts,
    campaign: Campaign,
    kind: Kind,
    message: Option<i64>,
    ask_arrived: bool,
    opening: Opening,
    now: i64,
}

impl Case {
    fn good() -> Case {
        let mut campaign = SHIPPED.clone();
        let italy = campaign.packs.get_mut("IT").expect("Italy's pack");
        italy.register.name = Some("RPO".into());
        italy.register.spares_asks = true;
        italy.register.needed_for_asks = false;
        italy.register.valid_days = 15;
        let facts = Facts {
            contact: 41,
            mobile: true,
            country: Some("IT".into()),
            kind: Some(Person::Prospect),
            evidence: vec![evidence()],
            ..Facts::default()
        };
        let now = at("2026-12-01T09:45:00Z");
        let opening = Opening::Open { until: at("2026-12-01T18:00:00Z") };
        let now = now.timestamp_micros();
        Case { facts, campaign, kind: Kind::Ask, message: Some(MINE), ask_arrived: true, opening, now }
    }

    fn pack(&mut self) -> &mut CountryPack {
        self.campaign.packs.get_mut("IT").expect("Italy's pack")
    }

    fn decided(&self) -> Decision {
        let ask = &self.campaign.asks[0];
        let cause = Cause::Plan {
            kind: self.kind,
            campaign: &self.campaign,
            campaign_id: CAMPAIGN,
            ask,
            message: self.message,
            ask_arrived: self.ask_arrived,
            opening: &self.opening,
            today: DateTime::from_timestamp_micros(self.now).expect("a time").date_naive(),
        };
        decide(cause, &self.facts, self.now)
    }

    fn with(change: impl FnOnce(&mut Case)) -> Case {
        let mut case = Case::good();
        change(&mut case);
        case
    }
}

fn evidence() -> BasisEvidence {
    BasisEvidence {
        basis: AskBasis::PriorConsent,
        evidence: "form 1".into(),
        date: day("2026-01-10"),
        box_default: BoxDefault::Unticked,
        channels: vec![Channel::Sms],
        approver: None,
        conditions: Vec::new(),
    }
}

fn soft(conditions: &[SoftOptIn]) -> BasisEvidence {
    BasisEvidence { basis: AskBasis::SoftOptIn, conditions: conditions.to_vec(), ..evidence() }
}

fn listed(since: Option<i64>, at: Option<i64>) -> Vec<Screened> {
    vec![Screened { register: "RPO".into(), at, listed_since: since }]
}

fn talks(campaign: i64, answered: bool) -> Option<Conversation> {
    Some(Conversation { campaign: Some(campaign), answered, first_yes_at: None })
}

fn code_of(decision: &Decision) -> (&'static str, Option<Reason>) {
    match decision {
        Decision::Send(_) => ("send", None),
        Decision::Wait { because, .. } => ("wait", Some(*because)),
        Decision::Skip(reason) => ("skip", Some(*reason)),
    }
}

type Change = fn(&mut Case);
/// What is changed, how, and what is decided then.
type Edge = (&'static str, Box<dyn Fn(&mut Case)>, (&'static str, Option<Reason>));

/// Everything that keeps an ask from somebody, strictest first.
const RULES: [(Change, Reason); 29] = [
    (|c| c.facts.suppressions.push((suppression::Reason::WrongPerson, 1)), Reason::WrongPerson),
    (|c| c.facts.suppressions.push((suppression::Reason::Erased, 2)), Reason::Erased),
    (|c| c.facts.suppressions.push((suppression::Reason::Stopped, 3)), Reason::SuppressedObjection),
    (|c| c.facts.suppressions.push((suppression::Reason::UnsubscribedBefore, 4)), Reason::SuppressedUnsub),
    (|c| c.facts.suppressions.push((suppression::Reason::Refused, 5)), Reason::AlreadyRefused),
    (|c| c.facts.restricted = true, Reason::Restricted),
    (|c| c.facts.noted = true, Reason::Restricted),
    (|c| c.facts.held = true, Reason::HeldForOperator),
    (|c| c.facts.mobile = false, Reason::BadNumber),
    (|c| c.facts.country = None, Reason::CountryBlocked),
    (|c| c.pack().hours.source.reviewed = day("2020-01-01"), Reason::PackStale),
    (
        |c| {
            c.campaign.sector = Some("gambling".into());
            c.pack().sectors.source.reviewed = day("2026-11-01");
            c.pack().sectors.blocked.insert("gambling".into(), vec![Channel::Sms]);
        },
        Reason::SectorBlocked,
    ),
    (|c| c.facts.kind = Some(Person::Customer), Reason::ActiveCustomer),
    (|c| c.campaign.kinds = vec![Person::Dormant], Reason::NotInSegment),
    (|c| c.facts.granted = c.campaign.asks_for.clone(), Reason::AlreadyGranted),
    (|c| c.facts.answered_since = Some(c.now), Reason::AnsweredSince),
    (|c| c.facts.only_quarantined = true, Reason::SourceQuarantined),
    (|c| c.facts.evidence = vec![BasisEvidence { box_default: BoxDefault::PreTicked, ..evidence() }], Reason::LegacyInvalid),
    (|c| c.facts.evidence.clear(), Reason::NoAskBasis),
    (|c| c.facts.evidence = vec![BasisEvidence { channels: vec![Channel::WhatsApp], ..evidence() }], Reason::ChannelNoOptin),
    (
        |c| {
            c.pack().ask_basis.allowed.insert(AskBasis::SoftOptIn, vec![Channel::Sms]);
            c.facts.evidence = vec![soft(&SoftOptIn::ALL[1..])];
        },
        Reason::ConditionsMissing,
    ),
    (
        |c| {
            c.pack().basis_age.months.insert(AskBasis::PriorConsent, 24);
            c.facts.evidence = vec![BasisEvidence { date: day("2024-11-30"), ..evidence() }];
        },
        Reason::BasisExpired,
    ),
    (|c| c.facts.screened = listed(Some(1), Some(c.now)), Reason::RpoListed),
    (|c| c.pack().register.needed_for_asks = true, Reason::RpoStale),
    (unregistered, Reason::SenderUnregistered),
    (|c| c.facts.asked_in_family = vec![OTHER], Reason::AskCap),
    (|c| c.facts.conversation = talks(CAMPAIGN + 1, false), Reason::InConversation),
    (|c| c.campaign.deadline = at("2026-12-01T09:45:00Z"), Reason::DeadlinePassed),
    (|c| c.opening = Opening::Never, Reason::CalendarMissing),
];

#[test]
fn each_rule_keeps_an_ask_from_somebody_and_of_two_the_stricter_one_decides() {
    for (n, (strict, reason)) in RULES.iter().enumerate() {
        assert_eq!(code_of(&Case::with(strict).decided()), ("skip", Some(*reason)));
        for (other, _) in &RULES[n + 1..] {
            let both = Case::with(|case| {
                other(case);
                strict(case);
            });
            assert_eq!(code_of(&both.decided()), ("skip", Some(*reason)));
        }
    }
}

#[test]
fn what_is_cleared_may_leave_for_seconds_and_be_tried_until_the_window_closes() {
    let open_until = at("2026-12-01T18:00:00Z").timestamp_micros();
    let Decision::Send(cleared) = Case::good().decided() else { panic!("nothing speaks against it") };
    let now = Case::good().now;
    assert_eq!(
        (cleared.send_before(), cleared.valid_until(), cleared.basis()),
        (now + SEND_WITHIN_S * SECOND, open_until, Some(AskBasis::PriorConsent))
    );
    // The campaign's deadline and the end of the hours cut both short.
    let Decision::Send(cleared) = Case::with(|c| c.campaign.deadline = at("2026-12-01T09:45:02Z")).decided() else {
        panic!("two seconds are left")
    };
    assert_eq!((cleared.send_before(), cleared.valid_until()), (now + 2 * SECOND, now + 2 * SECOND));
}

/// What is just not enough to keep an ask from somebody, or just enough.
#[test]
fn the_edges_of_the_rules() {
    use Reason::*;
    let send = ("send", None);
    let skip = |reason| ("skip", Some(reason));
    let cap = Case::good().campaign.cap_days * DAY;
    #[rustfmt::skip]
    let edges: Vec<Edge> = vec![
        ("nothing", Box::new(|_| {}), send),
        ("a country no pack governs", Box::new(|c| c.facts.country = Some("US".into())), skip(CountryBlocked)),
        ("a country of another campaign", Box::new(|c| c.campaign.countries = vec!["PL".into()]), skip(NotInSegment)),
        ("a country without its pack", Box::new(|c| { c.campaign.packs.remove("IT"); c.campaign.governed.clear(); }), skip(CountryBlocked)),
        ("a review's last day", Box::new(|c| { let d = Duration::days(c.campaign.pack_stale_days); c.pack().hours.source.reviewed = day("2026-12-01") - d; }), send),
        ("the day after it", Box::new(|c| { let d = Duration::days(c.campaign.pack_stale_days + 1); c.pack().hours.source.reviewed = day("2026-12-01") - d; }), skip(PackStale)),
        ("another trade barred", Box::new(|c| { c.campaign.sector = Some("toys".into()); c.pack().sectors.blocked.insert("gambling".into(), vec![Channel::Sms]); }), send),
        ("a trade barred elsewhere", Box::new(|c| { c.campaign.sector = Some("toys".into()); c.pack().sectors.blocked.insert("toys".into(), vec![Channel::Call]); }), send),
        ("an action yesterday", Box::new(|c| c.facts.last_action = Some(day("2026-11-30"))), skip(ActiveCustomer)),
        ("an action on the last day", Box::new(|c| c.facts.last_action = Some(day("2026-12-01") - Duration::days(c.campaign.dormant_after_days))), skip(ActiveCustomer)),
        ("an action the day before", Box::new(|c| c.facts.last_action = Some(day("2026-12-01") - Duration::days(c.campaign.dormant_after_days + 1))), send),
        ("granted something else", Box::new(|c| c.facts.granted = vec![Permission::parse("call.product_info").unwrap()]), send),
        ("a campaign that asks for nothing by itself", Box::new(|c| c.campaign.asks_for.clear()), send),
        ("evidence without a proof", Box::new(|c| c.facts.evidence[0].evidence = " ".into()), skip(NoAskBasis)),
        ("evidence of today", Box::new(|c| c.facts.evidence[0].date = day("2026-12-01")), send),
        ("evidence of tomorrow", Box::new(|c| c.facts.evidence[0].date = day("2026-12-02")), skip(NoAskBasis)),
        ("a bundled box", Box::new(|c| c.facts.evidence[0].box_default = BoxDefault::Bundled), skip(LegacyInvalid)),
        ("a bundled box beside a good one", Box::new(|c| c.facts.evidence.push(BasisEvidence { box_default: BoxDefault::Bundled, ..evidence() })), send),
        ("a pre-ticked box where none was needed", Box::new(|c| { c.pack().ask_basis.allowed.insert(AskBasis::InboundRequest, vec![Channel::Sms]); c.facts.evidence = vec![BasisEvidence { basis: AskBasis::InboundRequest, box_default: BoxDefault::PreTicked, ..evidence() }]; }), send),
        ("a basis the country does not know", Box::new(|c| { c.pack().ask_basis.allowed.clear(); }), skip(NoAskBasis)),
        ("approved by nobody", Box::new(|c| { c.pack().ask_basis.allowed.insert(AskBasis::OtherApproved, vec![Channel::Sms]); c.facts.evidence = vec![BasisEvidence { basis: AskBasis::OtherApproved, approver: Some(" ".into()), ..evidence() }]; }), skip(NoAskBasis)),
        ("approved by somebody", Box::new(|c| { c.pack().ask_basis.allowed.insert(AskBasis::OtherApproved, vec![Channel::Sms]); c.facts.evidence = vec![BasisEvidence { basis: AskBasis::OtherApproved, approver: Some("ann".into()), ..evidence() }]; }), send),
        ("all four conditions", Box::new(|c| { c.pack().ask_basis.allowed.insert(AskBasis::SoftOptIn, vec![Channel::Sms]); c.facts.evidence = vec![soft(&SoftOptIn::ALL)]; }), send),
        ("a basis on its last day", Box::new(|c| { c.pack().basis_age.months.insert(AskBasis::PriorConsent, 24); c.facts.evidence[0].date = day("2024-12-01"); }), send),
        ("a basis counted from the last action", Box::new(|c| { c.pack().basis_age.months.insert(AskBasis::PriorConsent, 24); c.pack().basis_age.from_last_action = true; c.facts.evidence[0].date = day("2020-01-01"); c.facts.last_action = Some(day("2025-06-01")); }), send),
        ("a basis not counted from it", Box::new(|c| { c.pack().basis_age.months.insert(AskBasis::PriorConsent, 24); c.pack().basis_age.from_last_action = false; c.facts.evidence[0].date = day("2020-01-01"); c.facts.last_action = Some(day("2025-06-01")); }), skip(BasisExpired)),
        ("listed where that spares nobody", Box::new(|c| { c.pack().register.spares_asks = false; c.facts.screened = listed(Some(1), Some(1)); }), send),
        ("screened and not listed", Box::new(|c| c.facts.screened = listed(None, Some(1))), send),
        ("listed in another register", Box::new(|c| c.facts.screened = vec![Screened { register: "TPS".into(), at: Some(1), listed_since: Some(1) }]), send),
        ("screened as long ago as allowed", Box::new(|c| { c.pack().register.needed_for_asks = true; c.facts.screened = listed(None, Some(c.now - 15 * DAY)); }), send),
        ("screened longer ago", Box::new(|c| { c.pack().register.needed_for_asks = true; c.facts.screened = listed(None, Some(c.now - 15 * DAY - 1)); }), skip(RpoStale)),
        ("registered today", Box::new(|c| { unregistered(c); c.campaign.asks[0].sender.registrations = entry(RegistrationState::Registered, "2026-12-01"); }), send),
        ("registered tomorrow", Box::new(|c| { unregistered(c); c.campaign.asks[0].sender.registrations = entry(RegistrationState::Registered, "2026-12-02"); }), skip(SenderUnregistered)),
        ("applied for", Box::new(|c| { unregistered(c); c.campaign.asks[0].sender.registrations = entry(RegistrationState::Pending, "2026-01-01"); }), skip(SenderUnregistered)),
        ("a number needs no registry", Box::new(|c| { unregistered(c); c.campaign.asks[0].sender.two_way = true; }), send),
        ("the registry begins tomorrow", Box::new(|c| { unregistered(c); c.pack().sender.since = Some(day("2026-12-02")); }), send),
        ("the registry begins today", Box::new(|c| { unregistered(c); c.pack().sender.since = Some(day("2026-12-01")); }), skip(SenderUnregistered)),
        ("its own mark", Box::new(|c| { c.facts.asked_in_family = vec![MINE]; c.facts.asked = vec![(c.now, MINE)]; }), send),
        ("its own mark, while planning", Box::new(|c| { c.message = None; c.facts.asked_in_family = vec![MINE]; }), skip(AskCap)),
        ("asked by any family within the cap", Box::new(move |c| c.facts.asked = vec![(c.now - cap + 1, OTHER)]), skip(AskCap)),
        ("asked as long ago as the cap", Box::new(move |c| c.facts.asked = vec![(c.now - cap, OTHER)]), send),
        ("in this campaign's own conversation", Box::new(|c| c.facts.conversation = talks(CAMPAIGN, false)), send),
        ("answered in it", Box::new(|c| c.facts.conversation = talks(CAMPAIGN, true)), skip(AlreadyAnswered)),
        ("a microsecond before the deadline", Box::new(|c| c.now = c.campaign.deadline.timestamp_micros() - 1), send),
        ("quiet hours", Box::new(|c| c.opening = Opening::Opens { at: at("2026-12-02T08:00:00Z") }), ("wait", Some(QuietHours))),
        ("quiet hours until the deadline", Box::new(|c| c.opening = Opening::Opens { at: c.campaign.deadline }), skip(DeadlinePassed)),
        ("quiet hours until before the deadline", Box::new(|c| c.opening = Opening::Opens { at: c.campaign.deadline - Duration::microseconds(1) }), ("wait", Some(QuietHours))),
        ("their own times", Box::new(|c| { c.facts.times = Some(Times::default()); c.opening = Opening::Opens { at: at("2026-12-02T08:00:00Z") }; }), ("wait", Some(OwnTimes))),
        ("their own times, never", Box::new(|c| { c.facts.times = Some(Times::default()); c.opening = Opening::Never; }), skip(OwnTimes)),
        ("once a week, and asked for less", Box::new(move |c| { weekly(c); c.facts.asked = vec![(c.now - 7 * DAY + 1, OTHER)]; }), ("wait", Some(OwnTimes))),
        ("once a week, and a week is over", Box::new(move |c| { weekly(c); c.facts.asked = vec![(c.now - 7 * DAY, OTHER)]; }), send),
        ("once a week, and only this message", Box::new(move |c| { weekly(c); c.facts.asked = vec![(c.now, MINE)]; }), send),
        ("a reminder", Box::new(remind), send),
        ("a reminder of what did not arrive", Box::new(|c| { remind(c); c.ask_arrived = false; }), skip(AskNotArrived)),
        ("a reminder after the answer", Box::new(|c| { remind(c); c.facts.conversation = talks(CAMPAIGN, true); }), skip(AlreadyAnswered)),
        ("a reminder out of nothing", Box::new(|c| { remind(c); c.facts.conversation = None; }), skip(AlreadyAnswered)),
        ("a second reminder", Box::new(|c| { remind(c); c.facts.reminded_in_family = vec![MINE, OTHER]; }), skip(AskCap)),
        ("a reminder's own mark", Box::new(|c| { remind(c); c.facts.reminded_in_family = vec![MINE]; }), send),
        ("a reminder while a reply waits", Box::new(|c| { remind(c); c.facts.held = true; }), ("wait", Some(HeldForOperator))),
        ("a reminder after a no", Box::new(|c| { remind(c); c.facts.suppressions = vec![(suppression::Reason::Refused, 1)]; }), skip(AlreadyRefused)),
    ];
    for (what, change, expected) in edges {
        assert_eq!(code_of(&Case::with(change).decided()), expected, "{what}");
    }
    // Until when it waits.
    let wait = |change: &dyn Fn(&mut Case)| match Case::with(change).decided() {
        Decision::Wait { until, .. } => until - Case::good().now,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        wait(&|c| {
            remind(c);
            c.facts.held = true;
        }),
        5 * MINUTE
    );
    assert_eq!(
        wait(&|c| {
            weekly(c);
            c.facts.asked = vec![(c.now - 2 * DAY, OTHER), (c.now - DAY, OTHER)];
        }),
        6 * DAY
    );
    // The best basis is the one named.
    let both = Case::with(|c| {
        c.pack().ask_basis.allowed.insert(AskBasis::SoftOptIn, vec![Channel::Sms]);
        c.facts.evidence.insert(0, soft(&SoftOptIn::ALL));
    });
    assert!(matches!(both.decided(), Decision::Send(cleared) if cleared.basis() == Some(AskBasis::PriorConsent)));
}

/// Italy wants senders registered, and ours is not.
fn unregistered(c: &mut Case) {
    c.pack().sender.registration = true;
    c.pack().sender.since = None;
    c.campaign.asks[0].sender.registered.clear();
    c.campaign.asks[0].sender.registrations.clear();
}

fn entry(state: RegistrationState, since: &str) -> Vec<Registration> {
    vec![Registration { country: "IT".into(), state, since: day(since), reference: None }]
}

/// Somebody who wants a message a week at most; their own earlier asks do not count against the cap here.
fn weekly(c: &mut Case) {
    c.campaign.cap_days = 0;
    c.facts.times = Some(Times { at_most: Some(Often::Week), ..Times::default() });
}

fn remind(c: &mut Case) {
    c.kind = Kind::Reminder;
    c.facts.asked_in_family = vec![OTHER];
    c.facts.asked = vec![(c.now - DAY, OTHER)];
    c.facts.conversation = talks(CAMPAIGN, false);
}

#[test]
fn what_answers_a_persons_own_act_has_rules_of_its_own() {
    use Reason::*;
    let now = Case::good().now;
    let of = |cause: Cause<'_>, change: &dyn Fn(&mut Facts)| {
        let mut facts = Case::good().facts;
        change(&mut facts);
        decide(cause, &facts, now)
    };
    let says = |cause, change: &dyn Fn(&mut Facts)| code_of(&of(cause, change));
    let until = |cause, change: &dyn Fn(&mut Facts)| match of(cause, change) {
        Decision::Wait { until, .. } => until - now,
        Decision::Send(cleared) => cleared.valid_until(),
        other => panic!("{other:?}"),
    };
    let skip = |reason| ("skip", Some(reason));
    let send = ("send", None);
    let no = |at: i64| vec![(suppression::Reason::Stopped, at)];

    // The second step of a yes: the yes must be younger than every no.
    let yes = |f: &mut Facts| f.conversation = Some(Conversation { campaign: None, answered: true, first_yes_at: Some(100) });
    assert_eq!(says(Cause::Confirm, &|_| {}), skip(AlreadyAnswered));
    assert_eq!(says(Cause::Confirm, &yes), send);
    for (at, expected) in [(99, send), (100, skip(SuppressedObjection)), (101, skip(SuppressedObjection))] {
        assert_eq!(
            says(Cause::Confirm, &|f| {
                yes(f);
                f.suppressions = no(at);
            }),
            expected,
            "{at}"
        );
    }
    let barred: [fn(&mut Facts); 2] = [|f| f.restricted = true, |f| f.noted = true];
    for bar in barred {
        assert_eq!(
            says(Cause::Confirm, &|f| {
                yes(f);
                bar(f);
            }),
            skip(Restricted)
        );
    }
    assert_eq!(
        says(Cause::Confirm, &|f| {
            yes(f);
            f.held = true;
        }),
        ("wait", Some(HeldForOperator))
    );
    assert_eq!(
        until(Cause::Confirm, &|f| {
            yes(f);
            f.held = true;
        }),
        5 * MINUTE
    );
    assert_eq!(
        says(Cause::Confirm, &|f| {
            yes(f);
            f.confirms_today = 3;
        }),
        send
    );
    assert_eq!(
        says(Cause::Confirm, &|f| {
            yes(f);
            f.confirms_today = 4;
        }),
        skip(DailyLimit)
    );
    assert!(
        matches!(of(Cause::Confirm, &yes), Decision::Send(c) if c.send_before() == now + SEND_WITHIN_S * SECOND && c.basis().is_none())
    );

    // A code: five a day, a minute apart; after a no one a day; to see one's data whatever was said.
    let code = Cause::Code { asked_at: now, for_a_yes: true };
    let data = Cause::Code { asked_at: now, for_a_yes: false };
    assert_eq!(says(code, &|_| {}), send);
    assert_eq!(says(Cause::Code { asked_at: now - code::VALID, for_a_yes: true }, &|_| {}), send);
    assert_eq!(says(Cause::Code { asked_at: now - code::VALID - 1, for_a_yes: true }, &|_| {}), skip(TooLate));
    assert_eq!(until(code, &|f| f.last_code = Some(now - MINUTE + 1)), 1);
    assert_eq!(says(code, &|f| f.last_code = Some(now - MINUTE)), send);
    let codes =
        |f: &mut Facts, n: i64| (f.codes_today, f.first_code, f.last_code) = (n, Some(now - DAY / 2), Some(now - DAY / 4));
    assert_eq!(says(code, &|f| codes(f, 4)), send);
    assert_eq!(until(code, &|f| codes(f, 5)), DAY / 2);
    assert_eq!(
        until(code, &|f| {
            codes(f, 1);
            f.suppressions = no(1);
        }),
        DAY * 3 / 4
    );
    assert_eq!(says(code, &|f| f.suppressions = no(1)), send);
    assert_eq!(
        says(data, &|f| {
            codes(f, 1);
            f.suppressions = no(1);
        }),
        send
    );
    assert_eq!(
        until(data, &|f| {
            codes(f, 5);
            f.suppressions = no(1);
        }),
        DAY / 2
    );
    for bar in barred {
        assert_eq!((says(code, &bar), says(data, &bar)), (skip(Restricted), send));
    }

    // A form: anybody can type anybody's number, so every no stands.
    let campaign = Case::good().campaign;
    let italy = campaign.packs.get("IT");
    let form = Cause::Form { asked_at: now, pack: italy };
    assert_eq!(says(form, &|_| {}), send);
    assert_eq!(says(form, &|f| f.suppressions = no(1)), skip(SuppressedObjection));
    for bar in barred {
        assert_eq!(says(form, &bar), skip(Restricted));
    }
    assert_eq!(says(form, &|f| f.held = true), skip(HeldForOperator));
    assert_eq!(says(form, &|f| f.mobile = false), skip(BadNumber));
    assert_eq!(says(Cause::Form { asked_at: now, pack: None }, &|_| {}), skip(CountryBlocked));
    assert_eq!(says(form, &|f| f.last_code = Some(now)), ("wait", Some(DailyLimit)));
    let mut bare = italy.expect("a pack").clone();
    bare.register.spares_asks = true;
    bare.register.name = Some("RPO".into());
    let spares = Cause::Form { asked_at: now, pack: Some(&bare) };
    assert_eq!(says(spares, &|f| f.screened = listed(Some(1), Some(1))), skip(RpoListed));
    assert_eq!(says(spares, &|f| f.screened = listed(None, Some(1))), send);
    assert_eq!(
        says(spares, &|f| f.screened = vec![Screened { register: "TPS".into(), at: Some(1), listed_since: Some(1) }]),
        send
    );
    let mut counted = bare.clone();
    counted.register.spares_asks = false;
    assert_eq!(says(Cause::Form { asked_at: now, pack: Some(&counted) }, &|f| f.screened = listed(Some(1), Some(1))), send);

    // An answer: within five minutes, one a day but for a new no and for a grant, which has one of its own.
    let answer = |ago: i64| Cause::Answer { received_at: now - ago, new_no: false, grant: false };
    let no = |ago: i64| Cause::Answer { received_at: now - ago, new_no: true, grant: false };
    let granted = Cause::Answer { received_at: now, new_no: false, grant: true };
    assert_eq!(says(no(0), &|f| f.answers_today = 9), send);
    assert_eq!(says(granted, &|f| (f.answers_today, f.grants_told_today) = (9, 1)), send);
    assert_eq!(says(granted, &|f| (f.answers_today, f.grants_told_today) = (2, 2)), skip(DailyLimit));
    assert_eq!(says(no(5 * MINUTE + 1), &|_| {}), skip(TooLate));
    assert_eq!(says(no(0), &|f| f.restricted = true), skip(Restricted));
    assert_eq!((says(no(0), &|f| f.noted = true), says(answer(0), &|f| f.noted = true)), (send, skip(Restricted)));
    assert_eq!(says(answer(5 * MINUTE), &|_| {}), send);
    assert_eq!(says(answer(5 * MINUTE + 1), &|_| {}), skip(TooLate));
    assert_eq!(until(answer(MINUTE), &|_| {}), now + 4 * MINUTE);
    assert_eq!(says(answer(0), &|f| f.answers_today = 1), send);
    assert_eq!(says(answer(0), &|f| f.answers_today = 2), skip(DailyLimit));
    assert_eq!(says(answer(0), &|f| f.restricted = true), skip(Restricted));

    // A test: to testers, in the hours.
    let open = Case::good().opening;
    assert_eq!(says(Cause::Test { tester: false, opening: &open }, &|_| {}), skip(NotATester));
    assert_eq!(says(Cause::Test { tester: true, opening: &open }, &|_| {}), send);
    assert_eq!(says(Cause::Test { tester: true, opening: &Opening::Never }, &|_| {}), skip(CalendarMissing));
}
