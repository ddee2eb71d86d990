//! One session: connect, bind, hear, until it ends. Answers reach whoever asked at once; what the SMSC delivers is stored beside, a
//! slice at a time, and answered when it is on disk.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};
use tokio_util::sync::CancellationToken;

use super::ear::{Due, Ear};
use super::pdu::{self, Login, Pdu};
use crate::clock::Clock;
use crate::gateway::http::unreached;
use crate::gateway::{Event, Sink};

/// To connect, to bind and to unbind, each.
const PATIENCE: Duration = Duration::from_secs(5);
/// Delivered messages stored in one transaction at most.
const SLICE: usize = 64;

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

type Reader = FramedRead<ReadHalf<Box<dyn Wire>>, LengthDelimitedCodec>;
type Writer = WriteHalf<Box<dyn Wire>>;

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Down {
    /// No try has failed yet.
    NotYet,
    /// No connection, or not any more: in words without anything secret.
    Lost(&'static str),
    /// The SMSC said no to our bind, with this command_status.
    Refused(u32),
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Down::NotYet => f.write_str("no session yet"),
            Down::Lost(why) => f.write_str(why),
            Down::Refused(status) => write!(f, "SMPP bind 0x{status:08X}"),
        }
    }
}

/// Why a command has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// No octet of it left.
    NotSent,
    /// It left, or some of it, and the connection broke.
    Broken,
    /// It left, and nothing came in time.
    Late,
}

/// What the end that reads hands to the end that stores.
enum News {
    Delivered(Pdu, std::time::Instant),
    /// What the SMSC had kept is through.
    Open,
    /// These answers of ours have arrived.
    Arrived(Vec<Event>),
}

/// A bound session as those see it who send.
pub struct Link {
    writer: tokio::sync::Mutex<Writer>,
    waiting: Mutex<HashMap<u32, oneshot::Sender<Pdu>>>,
    /// Texts that were answered ([`Event::Answered`]), until the answer to a later command of ours proves that it has arrived.
    answered: Mutex<Vec<Event>>,
    next: AtomicU32,
    /// Commands that may be unanswered at a time.
    pub window: Semaphore,
    /// Pulled by whoever finds it unusable.
    broken: CancellationToken,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

impl Link {
    fn sequence(&self) -> u32 {
        // 1 to 0x7FFFFFFF (SMPP 3.4, 3.2).
        self.next.fetch_add(1, Ordering::Relaxed) % 0x7fff_ffff + 1
    }

    /// Sends a command and waits for its answer until `deadline`.
    pub async fn ask(&self, build: impl FnOnce(u32) -> Vec<u8>, deadline: Instant) -> Result<Pdu, Unanswered> {
        let sequence = self.sequence();
        let (answer, heard) = oneshot::channel();
        self.waiting.lock().expect("no panic while held").insert(sequence, answer);
        let done = async {
            self.write(&build(sequence), deadline).await?;
            match timeout_at(deadline, heard).await {
                Ok(Ok(pdu)) => Ok(pdu),
                Ok(Err(_)) => Err(Unanswered::Broken),
                Err(_) => Err(Unanswered::Late),
            }
        };
        let done = done.await;
        self.waiting.lock().expect("no panic while held").remove(&sequence);
        done
    }

    /// Writes a PDU whole. What is not written by `deadline` is not written later either: half a PDU makes the session unusable.
    async fn write(&self, octets: &[u8], deadline: Instant) -> Result<(), Unanswered> {
        let mut writer = timeout_at(deadline, self.writer.lock()).await.map_err(|_| Unanswered::NotSent)?;
        if self.broken.is_cancelled() {
            return Err(Unanswered::NotSent);
        }
        let guard = self.broken.clone().drop_guard();
        let written = timeout_at(deadline, async {
            writer.write_all(octets).await?;
            writer.flush().await
        });
        match written.await {
            Ok(Ok(())) => {
                guard.disarm();
                Ok(())
            }
            _ => Err(Unanswered::Broken),
        }
    }

    async fn answer(&self, octets: &[u8]) {
        let _ = self.write(octets, Instant::now() + PATIENCE).await;
    }

    /// How many answers the command that goes out now follows.
    fn answers(&self) -> usize {
        self.answered.lock().expect("no panic while held").len()
    }

    /// The first `n` of them, which have arrived.
    fn arrived(&self, n: usize) -> Vec<Event> {
        self.answered.lock().expect("no panic while held").drain(..n).collect()
    }

    /// Nobody waits for an answer of this session any more.
    fn end(&self) {
        self.broken.cancel();
        self.waiting.lock().expect("no panic while held").clear();
    }
}

/// Where and as whom an account binds.
pub struct Place<'a> {
    pub host: &'a str,
    pub port: u16,
    pub tls: bool,
    /// PEM of the authority that signed the SMSC's certificate; the system's where it is empty.
    pub ca: &'a str,
    pub login: Login<'a>,
    pub window: usize,
    pub enquire_every: Duration,
    /// After a bind the SMSC first delivers what it kept: so long nothing is sent.
    pub backlog: Duration,
}

/// Connects and binds: to hear, or only to see whether we may.
///
/// # Errors
/// No connection, no answer, or a no.
async fn bound(place: &Place<'_>, hear: bool) -> Result<(Arc<Link>, Reader), Down> {
    let late = |_| Down::Lost("the SMSC does not answer");
    let connecting = timeout(PATIENCE, TcpStream::connect((place.host, place.port)));
    let stream = connecting.await.map_err(late)?.map_err(|e| Down::Lost(unreached(&e)))?;
    let _ = stream.set_nodelay(true);
    let wire: Box<dyn Wire> = match place.tls {
        false => Box::new(stream),
        true => {
            let connector = tokio_rustls::TlsConnector::from(Arc::new(trust(place.ca).map_err(Down::Lost)?));
            let name = ServerName::try_from(place.host.to_owned());
            let name = name.map_err(|_| Down::Lost("the SMSC's name is no name for TLS"))?;
            let secured = timeout(PATIENCE, connector.connect(name, stream)).await.map_err(late)?;
            Box::new(secured.map_err(|_| Down::Lost("the SMSC's certificate is not trusted, or it speaks no TLS"))?)
        }
    };
    let (read, write) = tokio::io::split(wire);
    let mut reader = FramedRead::new(read, pdu::frames());
    let link = Arc::new(Link {
        writer: tokio::sync::Mutex::new(write),
        waiting: Mutex::default(),
        answered: Mutex::default(),
        next: AtomicU32::new(0),
        window: Semaphore::new(place.window),
        broken: CancellationToken::new(),
    });
    let sequence = link.sequence();
    link.answer(&pdu::bind(&place.login, hear, sequence)).await;
    loop {
        let frame = timeout(PATIENCE, reader.next()).await.map_err(late)?;
        let Some(Ok(frame)) = frame else { return Err(Down::Lost("the SMSC closed the connection")) };
        match Pdu::read(&frame) {
            Some(answer) if answer.is_answer() && answer.status != 0 => return Err(Down::Refused(answer.status)),
            Some(answer) if answer.is_answer() && answer.sequence == sequence => return Ok((link, reader)),
            // Nothing else belongs here; an enquire_link is not worth a refusal.
            _ => {}
        }
    }
}

/// Whose certificates are trusted.
///
/// # Errors
/// What of the settings or of the system is wrong.
pub fn trust(ca: &str) -> Result<rustls::ClientConfig, &'static str> {
    let builder = rustls::ClientConfig::builder();
    if ca.is_empty() {
        let builder = builder.with_platform_verifier().map_err(|_| "the system has no certificates to trust")?;
        return Ok(builder.with_no_client_auth());
    }
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate.map_err(|_| "ca is no PEM")?).map_err(|_| "ca holds no usable certificate")?;
    }
    if roots.is_empty() {
        return Err("ca holds no certificate");
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Whether we may bind, without hearing anything.
///
/// # Errors
/// Why not.
pub async fn probe(place: &Place<'_>) -> Result<(), Down> {
    let (link, reader) = bound(place, false).await?;
    leave(&link, reader).await;
    Ok(())
}

/// Unbinds as one should, for as long as that may take. Answers whether the SMSC has answered.
async fn leave(link: &Link, mut reader: Reader) -> bool {
    let sequence = link.sequence();
    link.answer(&pdu::unbind(sequence)).await;
    let ended = async {
        let mut answered = false;
        while let Some(Ok(frame)) = reader.next().await {
            answered |= Pdu::read(&frame).is_some_and(|pdu| pdu.is_answer() && pdu.sequence == sequence);
            if answered {
                break;
            }
        }
        answered
    };
    let answered = timeout(PATIENCE, ended).await.unwrap_or(false);
    link.end();
    answered
}

/// Holds a session until it ends or `stop` is pulled. `up` learns of the link as soon as it may send, and that it may no longer.
pub async fn hold(
    place: &Place<'_>,
    ear: &mut Ear,
    clock: &Clock,
    sink: &Sink,
    up: &(dyn Fn(Option<Arc<Link>>) + Sync),
    stop: &CancellationToken,
) -> Down {
    let bound = tokio::select! {
        bound = bound(place, true) => bound,
        () = stop.cancelled() => return Down::Lost("stopped"),
    };
    let (link, mut reader) = match bound {
        Ok(bound) => bound,
        Err(down) => return down,
    };
    ear.begin(name());
    let (tell, news) = mpsc::unbounded_channel();
    let over = stop.child_token();
    let hearing = hear(&link, news, ear, clock, sink, &over);
    tokio::pin!(hearing);
    let down = tokio::select! {
        down = read(&link, &mut reader, &tell, place, up) => Some(down),
        // Not before what it is at is stored and answered: nothing is heard twice because of a stop.
        () = &mut hearing => None,
    };
    up(None);
    match down {
        Some(down) => {
            link.end();
            // The next session hears again what this one stores at this moment.
            over.cancel();
            hearing.await;
            down
        }
        None => {
            let answers = link.answers();
            if leave(&link, reader).await && answers > 0 {
                // Where it fails they stay in doubt, which is safe.
                let _ = sink(link.arrived(answers)).await;
            }
            Down::Lost("stopped")
        }
    }
}

/// A name no session had before.
fn name() -> String {
    let mut octets = [0u8; 8];
    getrandom::fill(&mut octets).expect("the operating system's generator works");
    bs58::encode(octets).into_string()
}

/// Reads until the session ends.
async fn read(
    link: &Arc<Link>,
    reader: &mut Reader,
    tell: &mpsc::UnboundedSender<News>,
    place: &Place<'_>,
    up: &(dyn Fn(Option<Arc<Link>>) + Sync),
) -> Down {
    let mut opens = Some(Instant::now() + place.backlog);
    let mut enquire_at = Instant::now() + place.enquire_every;
    // The enquire_link that waits for its answer, and how many answers of ours went out before it.
    let mut enquired: Option<(u32, usize)> = None;
    loop {
        let frame = tokio::select! {
            frame = reader.next() => frame,
            () = sleep_until(opens.unwrap_or(enquire_at)), if opens.is_some() => {
                opens = None;
                let _ = tell.send(News::Open);
                up(Some(link.clone()));
                continue;
            }
            () = sleep_until(enquire_at) => {
                if enquired.is_some() {
                    return Down::Lost("the SMSC no longer answers enquire_link");
                }
                let sequence = link.sequence();
                enquired = Some((sequence, link.answers()));
                link.answer(&pdu::enquire_link(sequence)).await;
                enquire_at = Instant::now() + PATIENCE.min(place.enquire_every);
                continue;
            }
            () = link.broken.cancelled() => return Down::Lost("a command could not be written"),
        };
        let pdu = match frame {
            Some(Ok(frame)) => Pdu::read(&frame),
            Some(Err(_)) => return Down::Lost("the SMSC sent what is no PDU, or the connection broke"),
            None => return Down::Lost("the SMSC closed the connection"),
        };
        let Some(pdu) = pdu else { return Down::Lost("the SMSC sent what is no PDU") };
        match pdu.id {
            _ if pdu.is_answer() && enquired.as_ref().is_some_and(|(sequence, _)| *sequence == pdu.sequence) => {
                if let Some((_, n @ 1..)) = enquired.take() {
                    let _ = tell.send(News::Arrived(link.arrived(n)));
                }
                enquire_at = Instant::now() + place.enquire_every;
            }
            _ if pdu.is_answer() => {
                let waiting = link.waiting.lock().expect("no panic while held").remove(&pdu.sequence);
                // An answer nobody waits for came too late: its message is `unknown`.
                let _ = waiting.map(|waiting| waiting.send(pdu));
            }
            pdu::DELIVER_SM => {
                // The receiving end lives as long as this loop.
                let _ = tell.send(News::Delivered(pdu, std::time::Instant::now()));
            }
            pdu::ENQUIRE_LINK => link.answer(&pdu::enquire_link_resp(pdu.sequence)).await,
            pdu::UNBIND => {
                link.answer(&pdu::unbind_resp(pdu.sequence)).await;
                return Down::Lost("the SMSC unbound us");
            }
            pdu::ALERT_NOTIFICATION => {}
            _ => link.answer(&pdu::generic_nack(pdu.sequence, pdu::INVALID_COMMAND)).await,
        }
    }
}

/// Stores what is delivered, and answers it then: 0 says that it is on disk (promise 4). Until `over`, and not in the middle of a slice.
async fn hear(
    link: &Link,
    mut news: mpsc::UnboundedReceiver<News>,
    ear: &mut Ear,
    clock: &Clock,
    sink: &Sink,
    over: &CancellationToken,
) {
    let mut slice = Vec::with_capacity(SLICE);
    loop {
        let overdue = ear.overdue_at().map(Instant::from_std);
        tokio::select! {
            biased;
            () = over.cancelled() => return,
            n = news.recv_many(&mut slice, SLICE) => if n == 0 { return },
            () = sleep_until(overdue.unwrap_or_else(Instant::now)), if overdue.is_some() => {}
        }
        let mut all: Vec<Event> = Vec::new();
        let mut due: Vec<Due> = Vec::new();
        for new in slice.drain(..) {
            match new {
                News::Delivered(pdu, at) => due.extend(ear.take(&pdu, clock.now(), at)),
                News::Open => ear.open(),
                News::Arrived(answers) => all.extend(answers),
            }
        }
        due.extend(ear.overdue(std::time::Instant::now()));
        all.extend(due.iter().map(|due| due.event.clone()));
        if all.is_empty() {
            continue;
        }
        let alone = all.len() > 1;
        let stored = sink(all).await;
        for due in due {
            // One that cannot be stored takes no neighbor with it.
            let stored = match &stored {
                Err(_) if alone => sink(vec![due.event]).await,
                stored => stored.clone(),
            };
            if let Err(error) = &stored {
                tracing::error!(error, "What the SMSC delivered could not be stored; it is asked to deliver it again");
            }
            let status = if stored.is_ok() { 0 } else { pdu::TRY_AGAIN };
            for sequence in due.answers {
                link.answer(&pdu::deliver_sm_resp(sequence, status)).await;
            }
            if let (Ok(()), Some(said)) = (stored, due.said)
                && ear.answered(&said, due.since, std::time::Instant::now())
            {
                link.answered.lock().expect("no panic while held").push(Event::Answered { said, at: clock.now() });
            }
        }
    }
}
