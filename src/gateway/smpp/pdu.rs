//! PDUs (SMPP 3.4). Those we write are built by the `rusmpp` crate. Those that come are read here and leniently: one that a strict
//! reader refuses would end the session for everybody's messages, and the SMSC would deliver it again and again.

use rusmpp::pdus::{BindTransceiver, BindTransmitter, DeliverSmResp, SubmitSm};
use rusmpp::tlvs::MessageSubmissionRequestTlvValue as Tlv;
use rusmpp::tokio_codec::CommandCodec;
use rusmpp::types::{COctetString, EmptyOrFullCOctetString, OctetString};
use rusmpp::values::{
    Ansi41Specific, DataCoding, EsmClass, GsmFeatures, InterfaceVersion, MessageType, MessagingMode, Npi, RegisteredDelivery,
    ServiceType, Ton,
};
use rusmpp::{Command, CommandStatus, Pdu as Built};
use tokio_util::bytes::BytesMut;
use tokio_util::codec::{Encoder, LengthDelimitedCodec};

pub const SUBMIT_SM: u32 = 0x4;
pub const DELIVER_SM: u32 = 0x5;
pub const UNBIND: u32 = 0x6;
pub const ENQUIRE_LINK: u32 = 0x15;
pub const ALERT_NOTIFICATION: u32 = 0x102;
/// Set in the id of every answer.
pub const ANSWER: u32 = 0x8000_0000;

/// ESME_RINVCMDID: a command we do not take.
pub const INVALID_COMMAND: u32 = 0x3;
/// ESME_RX_T_APPN: not now, deliver it again.
pub const TRY_AGAIN: u32 = 0x64;

/// Largest PDU taken, octets: a message_payload of 64 KB and what stands around it.
const LARGEST: usize = 70_000;

/// A command or an answer, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pdu {
    pub id: u32,
    pub status: u32,
    pub sequence: u32,
    pub body: Vec<u8>,
}

/// Cuts what comes into PDUs without their length.
pub fn frames() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().length_field_length(4).length_adjustment(-4).max_frame_length(LARGEST).new_codec()
}

impl Pdu {
    /// Of a frame; none where it is shorter than a header.
    pub fn read(frame: &[u8]) -> Option<Pdu> {
        let mut reader = Reader(frame);
        let (id, status, sequence) = (reader.u32()?, reader.u32()?, reader.u32()?);
        Some(Pdu { id, status, sequence, body: reader.0.to_vec() })
    }

    pub fn is_answer(&self) -> bool {
        self.id & ANSWER != 0
    }

    /// The text with which the body of an answer begins: the message id of a submit_sm_resp. It may be missing after an error.
    pub fn text(&self) -> String {
        Reader(&self.body).text().unwrap_or_default()
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, n: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// A C-octet string, which may lack its NUL at the end of everything.
    fn text(&mut self) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(self.0.len());
        let text = String::from_utf8_lossy(&self.0[..end]).into_owned();
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        Some(text)
    }
}

/// What an address is, and its digits or letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub ton: u8,
    pub text: String,
}

/// A deliver_sm: a receipt, or a person's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deliver {
    pub from: Address,
    pub to: Address,
    pub esm_class: u8,
    pub coding: u8,
    /// The short_message, or where that is empty the message_payload.
    pub message: Vec<u8>,
    pub tlvs: Vec<(u16, Vec<u8>)>,
}

pub const RECEIPTED_MESSAGE_ID: u16 = 0x001e;
pub const SAR_REFERENCE: u16 = 0x020c;
pub const SAR_TOTAL: u16 = 0x020e;
pub const SAR_PART: u16 = 0x020f;
pub const NETWORK_ERROR_CODE: u16 = 0x0423;
pub const MESSAGE_PAYLOAD: u16 = 0x0424;
pub const MESSAGE_STATE: u16 = 0x0427;

impl Deliver {
    /// Of a body. A short_message longer than the rest is what the rest holds; TLVs are read as far as they can be.
    pub fn read(body: &[u8]) -> Option<Deliver> {
        let mut reader = Reader(body);
        reader.text()?;
        let mut address = || {
            let ton = reader.u8()?;
            reader.u8()?;
            Some(Address { ton, text: reader.text()? })
        };
        let (from, to) = (address()?, address()?);
        let esm_class = reader.u8()?;
        reader.take(2)?;
        reader.text()?;
        reader.text()?;
        reader.take(2)?;
        let coding = reader.u8()?;
        reader.u8()?;
        let length = usize::from(reader.u8()?).min(reader.0.len());
        let mut message = reader.take(length)?.to_vec();
        let mut tlvs = Vec::new();
        while let (Some(tag), Some(length)) = (reader.u16(), reader.u16()) {
            let length = usize::from(length).min(reader.0.len());
            let Some(value) = reader.take(length) else { break };
            tlvs.push((tag, value.to_vec()));
        }
        let payload = tlvs.iter().find(|(tag, _)| *tag == MESSAGE_PAYLOAD);
        if let (true, Some((_, payload))) = (message.is_empty(), payload) {
            message.clone_from(payload);
        }
        Some(Deliver { from, to, esm_class, coding, message, tlvs })
    }

    pub fn tlv(&self, tag: u16) -> Option<&[u8]> {
        self.tlvs.iter().find(|(known, _)| *known == tag).map(|(_, value)| value.as_slice())
    }

    /// A TLV that is a number of one or two octets.
    pub fn number(&self, tag: u16) -> Option<u16> {
        match self.tlv(tag)? {
            [n] => Some(u16::from(*n)),
            [high, low] => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        }
    }
}

/// As whom we bind. Whether that [`fits`] was checked when the account was opened.
#[derive(Debug)]
pub struct Login<'a> {
    pub system_id: &'a str,
    pub password: &'a str,
    pub system_type: &'a str,
}

/// Whether an address, name or password can be written: at most so many printable octets.
pub fn fits(text: &str, most: usize) -> bool {
    text.len() <= most && text.bytes().all(|octet| (0x20..0x7f).contains(&octet))
}

fn c<const MIN: usize, const MAX: usize>(text: &str) -> COctetString<MIN, MAX> {
    COctetString::from_string(text.to_owned()).expect("it was seen to fit")
}

fn written(status: CommandStatus, sequence: u32, pdu: impl Into<Built>) -> Vec<u8> {
    let command = Command::builder().status(status).sequence_number(sequence).pdu(pdu);
    let mut octets = BytesMut::new();
    // Writing into memory cannot fail.
    let _ = CommandCodec::new().encode(&command, &mut octets);
    octets.to_vec()
}

/// A bind in version 3.4: with `hear` as a transceiver, else only to send, so that nothing is delivered.
pub fn bind(login: &Login<'_>, hear: bool, sequence: u32) -> Vec<u8> {
    match hear {
        true => {
            let bind = BindTransceiver::builder().interface_version(InterfaceVersion::Smpp3_4).system_id(c(login.system_id));
            let bind = bind.password(c(login.password)).system_type(c(login.system_type)).build();
            written(CommandStatus::EsmeRok, sequence, bind)
        }
        false => {
            let bind = BindTransmitter::builder().interface_version(InterfaceVersion::Smpp3_4).system_id(c(login.system_id));
            let bind = bind.password(c(login.password)).system_type(c(login.system_type)).build();
            written(CommandStatus::EsmeRok, sequence, bind)
        }
    }
}

pub fn enquire_link(sequence: u32) -> Vec<u8> {
    written(CommandStatus::EsmeRok, sequence, Built::EnquireLink)
}

pub fn enquire_link_resp(sequence: u32) -> Vec<u8> {
    written(CommandStatus::EsmeRok, sequence, Built::EnquireLinkResp)
}

pub fn unbind(sequence: u32) -> Vec<u8> {
    written(CommandStatus::EsmeRok, sequence, Built::Unbind)
}

pub fn unbind_resp(sequence: u32) -> Vec<u8> {
    written(CommandStatus::EsmeRok, sequence, Built::UnbindResp)
}

pub fn generic_nack(sequence: u32, status: u32) -> Vec<u8> {
    written(status.into(), sequence, Built::GenericNack)
}

pub fn deliver_sm_resp(sequence: u32, status: u32) -> Vec<u8> {
    written(status.into(), sequence, DeliverSmResp::default())
}

/// What all parts of a message have in common.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// TON, NPI, address.
    pub from: (u8, u8, String),
    /// Digits without `+`.
    pub to: String,
    /// Empty for the SMSC's own.
    pub validity: String,
    pub coding: u8,
}

/// One part: its octets, and which of how many it is of the message with this reference.
#[derive(Debug, Clone)]
pub struct Part {
    pub octets: Vec<u8>,
    pub reference: u16,
    pub n: u8,
    pub of: u8,
    /// By SAR TLVs instead of a user data header.
    pub sar: bool,
}

pub fn submit_sm(envelope: &Envelope, part: &Part, sequence: u32) -> Vec<u8> {
    let joined = part.of > 1;
    // The low octet of the reference: receivers tell concurrent messages of one sender apart by it.
    let header = [0x05, 0x00, 0x03, part.reference.to_be_bytes()[1], part.of, part.n];
    let (header, features) = match joined && !part.sar {
        true => (header.as_slice(), GsmFeatures::UdhiIndicator),
        false => ([].as_slice(), GsmFeatures::NotSelected),
    };
    let message = [header, &part.octets].concat();
    // The crate's default says "delivery acknowledgement".
    let class = EsmClass::new(MessagingMode::Default, MessageType::Default, Ansi41Specific::Other(0), features);
    let mut submit = SubmitSm::builder()
        .service_type(ServiceType::null())
        .source_addr_ton(Ton::from(envelope.from.0))
        .source_addr_npi(Npi::from(envelope.from.1))
        .source_addr(c(&envelope.from.2))
        .dest_addr_ton(Ton::International)
        .dest_addr_npi(Npi::Isdn)
        .destination_addr(c(&envelope.to))
        .esm_class(class)
        .validity_period(EmptyOrFullCOctetString::from_string(envelope.validity.clone()).expect("16 digits, or none"))
        // One receipt a message: the last part's, whose id is the message's.
        .registered_delivery(RegisteredDelivery::from(u8::from(part.n == part.of)))
        .data_coding(DataCoding::from(envelope.coding))
        .short_message(OctetString::from_vec(message).expect("160 octets at most"));
    if joined && part.sar {
        submit = submit.push_tlv(Tlv::SarMsgRefNum(part.reference));
        submit = submit.push_tlv(Tlv::SarTotalSegments(part.of)).push_tlv(Tlv::SarSegmentSeqnum(part.n));
    }
    written(CommandStatus::EsmeRok, sequence, submit.build())
}
