use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::gateway::smpp::pdu::{Envelope, Login, Part, SUBMIT_SM, frames, submit_sm};

const FROM: &[u8] = b"447700900001";
const TO: &[u8] = b"393001234567";
const KEEPS: i64 = 7;

/// A deliver_sm, its length left out as a frame is.
fn deliver(sequence: u32, class: u8, coding: u8, message: &[u8], tlvs: &[u8]) -> Pdu {
    let length = u8::try_from(message.len()).unwrap();
    let body = [&b"\0\x01\x01"[..], FROM, b"\0\x01\x01", TO, b"\0", &[class, 0, 0, 0, 0, 0, 0, coding, 0, length], message, tlvs]
        .concat();
    Pdu { id: pdu::DELIVER_SM, status: 0, sequence, body }
}

fn part(sequence: u32, header: &[u8], text: &[u8]) -> Pdu {
    deliver(sequence, 0x40, 0, &[&[u8::try_from(header.len()).unwrap()][..], header, text].concat(), &[])
}

fn ear() -> Ear {
    let mut ear = Ear::new(Alphabet::Gsm7, Ids::Text, "", KEEPS);
    ear.begin("first".into());
    ear
}

fn heard(due: &Due) -> (String, String) {
    match &due.event {
        Event::Inbound { event_id, from, to, text, .. } => {
            assert_eq!((from.as_ref().unwrap().e164(), to.as_str()), ("+447700900001", "+393001234567"));
            (event_id.clone(), text.clone())
        }
        other => panic!("{other:?}"),
    }
}

fn text(due: &Due) -> String {
    heard(due).1
}

#[test]
fn what_the_smsc_had_kept_for_the_session_is_of_an_unknown_time() {
    let (mut ear, now) = (ear(), Instant::now());
    let mut time = |sequence| match ear.take(&deliver(sequence, 0, 0, b"SI", &[]), 0, now).unwrap().event {
        Event::Inbound { at, .. } => {
            ear.open();
            at
        }
        other => panic!("{other:?}"),
    };
    assert_eq!([1, 2].map(&mut time), [Some(crate::gateway::SOMETIME), None]);
}

#[test]
fn texts_are_read_in_every_coding() {
    let now = Instant::now();
    for (coding, octets, said) in [
        (0x00, &b"STOP \x1b\x65\x04"[..], "STOP €è"),
        (0x01, b"STOP", "STOP"),
        (0x03, b"S\xec", "Sì"),
        (0x08, b"\x00S\x01\x05\xd8\x3d\xde\x00", "Są😀"),
        (0x18, b"\x00S\x01", "S\u{1}"),
        (0xf1, b"\x04", "è"),
        (0x04, b"\x80\xff", "\u{80}ÿ"),
    ] {
        assert_eq!(text(&ear().take(&deliver(1, 0, coding, octets, &[]), 0, now).unwrap()), said, "{coding}");
    }
    // In message_payload.
    let payload = deliver(1, 0, 0, b"", b"\x04\x24\x00\x04STOP");
    assert_eq!(text(&ear().take(&payload, 0, now).unwrap()), "STOP");
}

#[test]
fn parts_are_joined_in_any_order_by_any_header() {
    let now = Instant::now();
    for (first, second) in [
        (&[0x00, 3, 42, 2, 1][..], &[0x00, 3, 42, 2, 2][..]),
        (&[0x08, 4, 1, 42, 2, 1], &[0x08, 4, 1, 42, 2, 2]),
        (&[0x05, 4, 0, 0, 0, 0, 0x00, 3, 42, 2, 1], &[0x00, 3, 42, 2, 2]),
    ] {
        let mut ear = ear();
        // The euro sign stands half in one part, half in the other.
        assert_eq!(ear.take(&part(7, second, b"\x65 STOP"), 0, now), None);
        assert_eq!(ear.take(&part(8, second, b"\x65 STOP"), 0, now), None, "a part that comes again completes nothing");
        let due = ear.take(&part(9, first, b"only 5 \x1b"), 0, now).unwrap();
        assert_eq!((text(&due), due.answers), ("only 5 € STOP".to_owned(), vec![7, 8, 9]));
        assert_eq!(ear.overdue_at(), None);
    }
    let sar = |n| [&b"\x02\x0c\x00\x02\x00\x2a\x02\x0e\x00\x01\x02\x02\x0f\x00\x01"[..], &[n]].concat();
    let mut ear = ear();
    assert_eq!(ear.take(&deliver(1, 0, 0, b"ST", &sar(1)), 0, now), None);
    assert_eq!(text(&ear.take(&deliver(2, 0, 0, b"OP", &sar(2)), 0, now).unwrap()), "STOP");
}

#[test]
fn a_part_whose_others_do_not_come_is_kept_and_the_whole_when_they_come_yet() {
    let mut now = Instant::now();
    let mut ear = ear();
    assert_eq!(ear.take(&part(1, &[0, 3, 42, 2, 1], b"SI"), 0, now), None);
    assert_eq!(ear.overdue(now), []);
    assert_eq!(ear.overdue_at(), Some(now + PATIENCE));
    now += PATIENCE;
    let told = ear.overdue(now);
    assert_eq!((text(&told[0]), told[0].answers.clone()), ("SI [part 1/2]".to_owned(), vec![1]));
    assert_eq!((ear.overdue(now), ear.overdue_at()), (vec![], None), "once");
    // An SMSC with a window of one delivers the second only now.
    let whole = ear.take(&part(2, &[0, 3, 42, 2, 2], b", STOP"), 0, now).unwrap();
    assert_eq!((text(&whole), whole.answers), ("SI, STOP".to_owned(), vec![2]));
    // The same reference, another message.
    ear.take(&part(3, &[0, 3, 42, 2, 1], b"old"), 0, now);
    assert_eq!(ear.take(&part(4, &[0, 3, 42, 2, 1], b"new"), 0, now), None);
    assert_eq!(text(&ear.take(&part(5, &[0, 3, 42, 2, 2], b" text"), 0, now).unwrap()), "new text");
}

/// SMPP gives what a person writes no id.
#[test]
fn the_same_words_are_another_message_once_this_session_answered_them_in_time() {
    let now = Instant::now();
    let mut ear = ear();
    // The text's mark, its event's id, and whether it may be an earlier message.
    let say = |ear: &mut Ear| {
        // An SMSC may give every PDU the same number.
        let due = ear.take(&deliver(1, 0, 0, b"SI", &[]), 0, now).unwrap();
        let Event::Inbound { event_id, again: Some(again), .. } = due.event else { panic!("{due:?}") };
        assert_eq!(due.said.as_ref(), Some(&again.said));
        assert!([0, KEEPS].contains(&again.within));
        (again.said, event_id, again.within > 0)
    };
    let (said, first, doubtful) = say(&mut ear);
    assert!(doubtful, "the process before may have heard it");
    let (_, second, doubtful) = say(&mut ear);
    assert!(first != second && doubtful, "not answered yet");
    assert!(ear.answered(&said, now, now + PATIENCE));
    assert!(!say(&mut ear).2, "a first yes and a second one");
    assert!(say(&mut ear).2, "that one is not answered yet");
    // So late that the SMSC may deliver it again meanwhile.
    assert!(!ear.answered(&said, now, now + PATIENCE + Duration::from_millis(1)));
    assert!(say(&mut ear).2);
    assert!(ear.answered(&said, now, now));
    ear.begin("second".into());
    let (_, again, doubtful) = say(&mut ear);
    assert!(doubtful, "our answer may not have arrived");
    assert!(![first, second].contains(&again), "a no counts each time");
}

#[test]
fn addresses_are_written_as_ours_are() {
    for (ton, address, normal) in [
        (1, "393001234567", "+393001234567"),
        (1, "+393001234567", "+393001234567"),
        (0, "393001234567", "+393001234567"),
        (1, "00393001234567", "+393001234567"),
        (0, "00393001234567", "+393001234567"),
        (0, "36100", "36100"),
        (3, "36100", "36100"),
        (5, "ACME", "ACME"),
        (2, "3001234567", "3001234567"),
    ] {
        assert_eq!(ours(&Address { ton, text: address.into() }, ""), normal);
    }
    assert_eq!(ours(&Address { ton: 2, text: "3001234567".into() }, "IT"), "+393001234567");
}

#[test]
fn a_national_number_is_of_its_country_or_of_nobody() {
    let number = |ton, text: &str, country| person(&Address { ton, text: text.into() }, country).map(|p| p.e164().to_owned());
    // Read as international it would be a French number.
    assert_eq!(number(2, "3001234567", ""), None);
    assert_eq!(number(2, "3001234567", "IT").as_deref(), Some("+393001234567"));
    assert_eq!(number(0, "3001234567", "IT").as_deref(), Some("+393001234567"));
    assert_eq!(number(1, "393001234567", "IT").as_deref(), Some("+393001234567"));
    assert_eq!(number(0, "393001234567", "").as_deref(), Some("+393001234567"));
    assert_eq!(number(5, "ACME", ""), None);
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// PDUs made by hand from the field tables of SMPP 3.4.
#[test]
fn what_is_written_is_what_the_standard_says() {
    let login = Login { system_id: "esme1", password: "secret", system_type: "" };
    assert_eq!(hex(&pdu::bind(&login, true, 1)), "0000002200000009000000000000000165736d653100736563726574000034000000");
    assert_eq!(hex(&pdu::enquire_link(1)), "00000010000000150000000000000001");
    assert_eq!(hex(&pdu::enquire_link_resp(1)), "00000010800000150000000000000001");
    assert_eq!(hex(&pdu::unbind(2)), "00000010000000060000000000000002");
    assert_eq!(hex(&pdu::deliver_sm_resp(9, 0)), "0000001180000005000000000000000900");
    let to = |to: &str, coding| Envelope { from: (5, 0, "ACME".into()), to: to.into(), validity: String::new(), coding };
    let alone = |text: &str| {
        let (coding, mut parts) = encode(Alphabet::Gsm7, text);
        (coding, Part { octets: parts.remove(0), reference: 42, n: 1, of: 1, sar: false })
    };
    let (coding, part) = alone("Reply STOP");
    assert_eq!(
        hex(&submit_sm(&to("393331234567", coding), &part, 3)),
        "0000003b00000004000000000000000300050041434d45000101333933333331323334353637000000000000010000000a5265706c792053544f50"
    );
    let (coding, part) = alone("Proszę");
    assert_eq!(
        hex(&submit_sm(&to("48601234567", coding), &part, 4)),
        "0000003c00000004000000000000000400050041434d450001013438363031323334353637000000000000010008000c00500072006f0073007a0119"
    );
    // The first of two: no receipt, since one a message is enough.
    let first = |sar| Part { octets: b"AAAAAAAAAA".to_vec(), reference: 42, n: 1, of: 2, sar };
    assert_eq!(
        hex(&submit_sm(&to("393331234567", 0), &first(false), 5)),
        "0000004100000004000000000000000500050041434d4500010133393333333132333435363700400000000000000000100500032a020141414141414141414141"
    );
    assert_eq!(
        hex(&submit_sm(&to("393331234567", 0), &first(true), 6)),
        "0000004b00000004000000000000000600050041434d45000101333933333331323334353637000000000000000000000a41414141414141414141020c0002002a020e000102020f000101"
    );
}

#[test]
fn what_comes_is_read_as_the_standard_says() {
    let frame = |hex: &str| {
        let octets: Vec<u8> = (8..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
        Pdu::read(&octets).unwrap()
    };
    let answer = frame("0000001780000004000000000000000331413242334300");
    assert_eq!((answer.id, answer.status, answer.sequence, answer.text().as_str()), (SUBMIT_SM | pdu::ANSWER, 0, 3, "1A2B3C"));
    let throttled = frame("00000010800000040000005800000003");
    assert_eq!((throttled.status, throttled.text().as_str()), (0x58, ""));
    let receipt = frame(
        "000000af00000005000000000000000900010133393333333132333435363700050041434d45000400000000000000006d69643a31373135303034207375623a\
         30303120646c7672643a303031207375626d697420646174653a3236313132323135333020646f6e6520646174653a3236313132323135333120737461743a44\
         454c49565244206572723a30303020746578743a5265706c792053544f50001e000831373135303034000427000102",
    );
    let mut ear = Ear::new(Alphabet::Gsm7, Ids::Decimal, "", KEEPS);
    let due = ear.take(&receipt, 5, Instant::now()).unwrap();
    let Event::Receipt { provider_id, status, at, .. } = due.event else { panic!("no receipt") };
    assert_eq!(
        (provider_id, status, at),
        (Ids::Hex.normal(&answer.text()).unwrap(), crate::domain::message::Receipt::Delivered, 5)
    );
}

#[test]
fn long_texts_are_cut_as_they_are_counted() {
    for (text, coding, lengths) in [
        ("A".repeat(160), 0, vec![160]),
        ("A".repeat(161), 0, vec![153, 8]),
        (format!("{}€{}", "A".repeat(152), "A".repeat(152)), 0, vec![152, 153, 1]),
        (format!("{}😀{}", "ł".repeat(66), "ł".repeat(66)), 8, vec![132, 134, 2]),
    ] {
        let (found, parts) = encode(Alphabet::Gsm7, &text);
        assert_eq!((found, parts.iter().map(Vec::len).collect::<Vec<_>>()), (coding, lengths));
    }
    assert_eq!(encode(Alphabet::Latin1, "à"), (0, vec![vec![0xe0]]));
    assert_eq!(encode(Alphabet::Latin1, "5 €").0, 8, "the euro sign stands in no Latin-1");
}

proptest! {
    #[test]
    fn nothing_delivered_is_beyond_reading(
        frames_ in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<prop::sample::Index>(), any::<bool>()), 1..6),
    ) {
        let tlvs = b"\x02\x0c\x00\x02\x00\x2a\x02\x0e\x00\x01\x02\x02\x0f\x00\x01\x01\x04\x27\x00\x01\x02\x00\x1e\x00\x03id\0";
        let mut ear = ear();
        let now = Instant::now();
        let mut unanswered = 0;
        for (n, (at, octet, cut, whole)) in frames_.into_iter().enumerate() {
            let mut pdu = part(u32::try_from(n).unwrap(), &[0, 3, 42, 3, 1], b"id:1 stat:DELIVRD text:STOP");
            pdu.body.extend_from_slice(tlvs);
            let place = at.index(pdu.body.len());
            pdu.body[place] = octet;
            if !whole {
                pdu.body.truncate(cut.index(pdu.body.len() + 1));
            }
            unanswered += 1;
            unanswered -= ear.take(&pdu, 0, now).map_or(0, |due| due.answers.len());
        }
        // Each is answered, sooner or later.
        unanswered -= ear.overdue(now + PATIENCE).iter().map(|due| due.answers.len()).sum::<usize>();
        prop_assert_eq!(unanswered, 0);
    }

    #[test]
    fn any_octets_are_a_deliver_or_none(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(pdu) = Pdu::read(&octets) {
            prop_assert!(ear().take(&pdu, 0, Instant::now()).is_none_or(|due| due.answers == [pdu.sequence]));
        }
        let mut stream = tokio_util::bytes::BytesMut::from(octets.as_slice());
        while let Ok(Some(_)) = tokio_util::codec::Decoder::decode(&mut frames(), &mut stream) {}
    }

    #[test]
    fn a_text_sent_and_read_is_the_same(text in "(\\PC|[€^łęÈ’😀]){0,300}", latin1 in any::<bool>()) {
        let alphabet = if latin1 { Alphabet::Latin1 } else { Alphabet::Gsm7 };
        let (coding, parts) = encode(alphabet, &text);
        prop_assert_eq!(decode(alphabet, coding, &parts.concat()), text.clone());
        let most = if coding == 8 { 140 } else { 160 };
        prop_assert!(parts.iter().all(|part| part.len() <= most));
    }
}
