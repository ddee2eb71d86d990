//! The handle on a running mock gateway: start it, make people reply, look at what it accepted.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use super::book::{Accepted, Stats};
use super::book::{Book, Entry};
use super::courier::Courier;
use super::faults::Faults;
use super::http;
use super::protocol::{Channel, Event, Inbound, SendAnswer, SendRequest, Status};

/// Microseconds UTC.
pub type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

#[derive(Clone)]
pub struct MockOptions {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    pub token: String,
    pub webhook_secret: String,
    /// Where callbacks go. Without one they fail, as against a deaf webhook.
    pub webhook_url: Option<String>,
    pub faults: Faults,
    /// Senders the page lets a person reply to, beside numbers and WhatsApp senders, which always can be.
    pub two_way: Vec<String>,
    /// WhatsApp senders that a person may write to first.
    pub whatsapp: Vec<String>,
    /// Whether a reference accepted once is answered 409 from then on.
    pub dedupe: bool,
    pub now: Now,
}

impl fmt::Debug for MockOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockOptions").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// A running mock gateway. Dropping it stops it.
pub struct MockGateway {
    addr: SocketAddr,
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

pub(super) struct Shared {
    pub token: String,
    pub two_way: Vec<String>,
    pub whatsapp: Vec<String>,
    pub dedupe: bool,
    now: Now,
    book: Mutex<Book>,
    courier: Arc<Courier>,
}

/// Fails if the address is taken. Needs a tokio runtime with time and network.
pub async fn start(options: MockOptions) -> anyhow::Result<MockGateway> {
    let listener = TcpListener::bind(options.listen).await?;
    let addr = listener.local_addr()?;
    let mut run = [0; 6];
    getrandom::fill(&mut run).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    let run = run.iter().map(|byte| format!("{byte:02x}")).collect();
    let (courier, events) = Courier::new(options.webhook_secret, options.webhook_url, options.now.clone())?;
    let shared = Arc::new(Shared {
        token: options.token,
        two_way: options.two_way,
        whatsapp: options.whatsapp,
        dedupe: options.dedupe,
        now: options.now,
        book: Mutex::new(Book::new(options.faults, run)),
        courier: courier.clone(),
    });
    let tasks = [tokio::spawn(http::serve(listener, http::router(shared.clone()))), tokio::spawn(courier.run(events))];
    Ok(MockGateway { addr, shared, tasks })
}

impl MockGateway {
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Closes the port and every connection at once, as a crash would; callbacks not yet sent are lost.
    pub async fn stop(mut self) {
        for task in &mut self.tasks {
            task.abort();
            let _ = task.await;
        }
    }

    pub fn set_faults(&self, faults: Faults) {
        self.shared.book().faults = faults;
    }

    pub fn set_webhook_url(&self, url: String) {
        *self.shared.courier.url.lock().unwrap() = Some(url);
    }

    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// The ids of all events that the webhook answered 2xx: what the other side must have.
    pub fn taken(&self) -> Vec<String> {
        self.shared.courier.taken.lock().unwrap().iter().map(|event| event.id().to_owned()).collect()
    }

    /// These events, from the `first` on, to be told once more.
    pub fn told_since(&self, first: usize) -> Vec<Event> {
        self.shared.courier.taken.lock().unwrap()[first..].to_vec()
    }

    /// Every message accepted so far, oldest first.
    pub fn log(&self) -> Vec<Accepted> {
        self.shared.book().messages.clone()
    }

    /// A person types a reply; returns its event id once the webhook answered 2xx or the tries are over. Either way the message
    /// is in the listing. Does not check `two_way`. The channel is the one `to_sender` used last with this phone, else SMS.
    pub async fn reply(&self, from_phone: &str, to_sender: &str, text: &str) -> String {
        let channel = self.shared.book().channel_between(from_phone, to_sender).unwrap_or(Channel::Sms);
        self.shared.write(from_phone, to_sender, channel, text, None).await
    }

    /// A person taps a button of a message; `None` if there is no such message or button.
    pub async fn tap(&self, message_id: &str, button_id: &str) -> Option<String> {
        self.shared.tap(message_id, button_id).await
    }

    /// Sends a receipt of the newest message with this reference; true if the webhook took it, `None` without such a message.
    pub async fn receipt(&self, reference: &str, status: Status) -> Option<bool> {
        let event = {
            let mut book = self.shared.book();
            let message = book.newest(reference)?;
            Event::Receipt(book.receipt(message, status, (self.shared.now)()))
        };
        Some(self.deliver(vec![event]).await)
    }

    /// Sends these events as they are, rightly signed, for tests of repeated and odd ones; true if the webhook took them.
    pub async fn deliver(&self, events: Vec<Event>) -> bool {
        self.shared.courier.deliver_now(events).await
    }

    /// Waits until every callback was delivered or given up, late ones too.
    pub async fn idle(&self) {
        self.shared.courier.idle().await;
    }
}

impl Drop for MockGateway {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl fmt::Debug for MockGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockGateway").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Shared {
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    /// Delivers what a phone wrote and returns the event id.
    pub async fn write(&self, from: &str, to: &str, channel: Channel, text: &str, tapped: Option<(&str, &str)>) -> String {
        let (index, event) = {
            let mut book = self.book();
            let index = book.write(Inbound {
                event_id: String::new(),
                from: from.to_owned(),
                to: to.to_owned(),
                channel,
                text: text.to_owned(),
                button: tapped.map(|(_, button)| button.to_owned()),
                at: (self.now)(),
                in_reply_to: tapped.map(|(message, _)| message.to_owned()),
            });
            (index, book.inbound[index].event.clone())
        };
        let event_id = event.event_id.clone();
        let taken = self.courier.deliver_now(vec![Event::Inbound(event)]).await;
        self.book().inbound[index].taken = Some(taken);
        event_id
    }

    pub async fn tap(&self, message_id: &str, button_id: &str) -> Option<String> {
        let (message, title) = {
            let book = self.book();
            let message = book.by_id(message_id)?.clone();
            let title = message.buttons.iter().find(|button| button.id == button_id)?.title.clone();
            (message, title)
        };
        let tapped = Some((message_id, button_id));
        Some(self.write(&message.to, &message.from, message.channel, &title, tapped).await)
    }

    /// Whether a person holding this phone could write to this sender over this channel.
    pub fn can_reply(&self, phone: usize, to: &str, channel: Channel) -> bool {
        let book = self.book();
        let wrote = |entry: &Entry| matches!(entry, Entry::Message(m) if book.messages[*m].from == to && book.messages[*m].channel == channel);
        match channel {
            Channel::Sms => to.starts_with('+') || self.two_way.iter().any(|sender| sender == to),
            Channel::Whatsapp => {
                self.whatsapp.iter().any(|sender| sender == to)
                    || book.phones.get(phone).is_some_and(|phone| phone.thread.iter().any(wrote))
            }
        }
    }

    pub fn stats(&self) -> Stats {
        let events_delivered = self.courier.delivered.load(Ordering::Relaxed);
        let events_failed = self.courier.failed.load(Ordering::Relaxed);
        Stats { events_delivered, events_failed, ..self.book().stats() }
    }

    /// Takes the message in and sends its receipts on their way.
    pub fn accept(&self, book: &mut Book, request: SendRequest) -> SendAnswer {
        let at = (self.now)();
        let fate = book.faults.receipts(&request);
        let message = book.accept(request, at);
        // A number that is not on the channel fails at once; all else is sent first.
        let told: &[Status] = if fate.last == Status::Failed { &[Status::Failed] } else { &[Status::Sent, fate.last] };
        let mut receipts: Vec<_> = told.iter().map(|status| book.receipt(message, *status, at)).collect();
        if fate.reordered {
            receipts.reverse();
        }
        let copies = if fate.lost { 0 } else { 1 + usize::from(fate.duplicate) };
        let events = receipts.iter().flat_map(|receipt| std::iter::repeat_n(Event::Receipt(receipt.clone()), copies));
        self.courier.enqueue(events.collect(), fate.late);
        let accepted = &book.messages[message];
        SendAnswer { id: accepted.id.clone(), reference: accepted.reference.clone() }
    }
}
