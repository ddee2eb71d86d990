//! Carries the mock gateway's events to the webhook: signed, in batches, in order, three tries each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::protocol::{Event, EventBatch, SIGNATURE_HEADER, sign};
use super::server::Now;

const BATCH: usize = 500;
/// Pauses after the first and the second try.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(200)];

pub(super) struct Courier {
    client: reqwest::Client,
    secret: String,
    pub url: Mutex<Option<String>>,
    now: Now,
    queue: mpsc::UnboundedSender<Event>,
    /// Events neither delivered nor given up.
    pending: watch::Sender<usize>,
    pub delivered: AtomicU64,
    pub failed: AtomicU64,
    /// The events that the webhook answered 2xx, once a time.
    pub taken: Mutex<Vec<Event>>,
}

impl Courier {
    /// The receiver belongs to [`Courier::run`].
    pub fn new(secret: String, url: Option<String>, now: Now) -> anyhow::Result<(Arc<Self>, mpsc::UnboundedReceiver<Event>)> {
        // Fails only if main or another test has installed a provider before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(10))
            .build()?;
        let (queue, events) = mpsc::unbounded_channel();
        let courier = Self {
            client,
            secret,
            url: Mutex::new(url),
            now,
            queue,
            pending: watch::Sender::new(0),
            delivered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            taken: Mutex::default(),
        };
        Ok((Arc::new(courier), events))
    }

    /// One batch at a time, so that nothing is reordered that no fault reorders.
    pub async fn run(self: Arc<Self>, mut events: mpsc::UnboundedReceiver<Event>) {
        let mut batch = Vec::new();
        while events.recv_many(&mut batch, BATCH).await > 0 {
            let count = batch.len();
            self.post(std::mem::take(&mut batch)).await;
            self.pending.send_modify(|pending| *pending -= count);
        }
    }

    /// One delay for all of them, so that being late does not also shuffle them.
    pub fn enqueue(&self, events: Vec<Event>, delay: Option<Duration>) {
        self.pending.send_modify(|pending| *pending += events.len());
        let queue = self.queue.clone();
        // After a stop nobody listens any more, so a failed send is no loss.
        let push = move || events.into_iter().for_each(|event| _ = queue.send(event));
        match delay {
            None => push(),
            Some(delay) => {
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    push();
                });
            }
        }
    }

    /// Passes the queue; true if the webhook answered 2xx.
    pub async fn deliver_now(&self, events: Vec<Event>) -> bool {
        self.pending.send_modify(|pending| *pending += 1);
        let _done = Done(&self.pending);
        self.post(events).await
    }

    pub async fn idle(&self) {
        let waiting = self.pending.subscribe().wait_for(|pending| *pending == 0).await.map(drop);
        waiting.expect("the courier owns the sender");
    }

    async fn post(&self, events: Vec<Event>) -> bool {
        let count = events.len() as u64;
        let batch = EventBatch { events };
        let body = serde_json::to_vec(&batch).expect("events are plain JSON");
        let mut pauses = PAUSES.iter();
        let taken = loop {
            if self.post_once(&body).await {
                break true;
            }
            match pauses.next() {
                Some(pause) => tokio::time::sleep(*pause).await,
                None => break false,
            }
        };
        let counter = if taken { &self.delivered } else { &self.failed };
        counter.fetch_add(count, Ordering::Relaxed);
        if taken {
            self.taken.lock().unwrap().extend(batch.events);
        }
        taken
    }

    async fn post_once(&self, body: &[u8]) -> bool {
        // Read again for every try: a test may have moved the webhook meanwhile.
        let Some(url) = self.url.lock().unwrap().clone() else { return false };
        let t = (self.now)().div_euclid(1_000_000);
        let request = self.client.post(url).header(SIGNATURE_HEADER, sign(&self.secret, t, body));
        let request = request.header("content-type", "application/json").body(body.to_vec());
        request.send().await.is_ok_and(|answer| answer.status().is_success())
    }
}

/// Counts down even if the caller goes away while the webhook is slow.
struct Done<'a>(&'a watch::Sender<usize>);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|pending| *pending -= 1);
    }
}
