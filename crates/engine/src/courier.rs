//! Delivers what is in the outbox, by topic, through handlers.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::failure::Failure;
use crate::flow::Boxed;
use crate::step::Retry;
use crate::store::Store;
use crate::store::outbox::{self, Message};

type Handler = dyn Fn(Message) -> Boxed<std::result::Result<(), Failure>> + Send + Sync;

/// How long a message is one deliverer's own.
const HOLD: Duration = Duration::from_secs(120);

/// How often it is looked whether a message is due, by a process that only delivers.
const LOOK: Duration = Duration::from_millis(500);

/// The handlers of messages by topic, and how patiently they are called.
#[derive(Clone)]
pub struct Courier {
    handlers: BTreeMap<String, Arc<Handler>>,
    retry: Retry,
}

impl Default for Courier {
    fn default() -> Self {
        // 2 s, 4 s, ... 20 minutes: longer than a weekend, and soon after a service is back.
        let retry = Retry::attempts(300).first(Duration::from_secs(2)).longest(Duration::from_secs(1200));
        Courier { handlers: BTreeMap::new(), retry }
    }
}

impl Courier {
    /// For messages of one topic.
    #[must_use]
    pub fn of<F, W>(topic: impl Into<String>, handler: F) -> Self
    where
        F: Fn(Message) -> W + Send + Sync + 'static,
        W: Future<Output = std::result::Result<(), Failure>> + Send + 'static,
    {
        let mut courier = Courier::default();
        courier.add(topic.into(), handler);
        courier
    }

    /// Delivers what comes until `stop` ends, and what it is at to its end: for a process that sends messages and does
    /// no runs.
    ///
    /// # Errors
    /// The journal cannot be used.
    pub async fn run(self, store: Store, stop: impl Future<Output = ()>) -> Result<()> {
        let mut stop = std::pin::pin!(stop);
        loop {
            let delivered = match self.anything(&store).await {
                Ok(true) => self.clone().deliver(store.clone()).await.map(drop),
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            };
            match delivered {
                Err(error) if !error.retry_helps() => return Err(error),
                _ => tokio::select! {
                    () = &mut stop => return Ok(()),
                    () = tokio::time::sleep(LOOK) => (),
                },
            }
        }
    }

    pub(crate) fn add<F, W>(&mut self, topic: String, handler: F)
    where
        F: Fn(Message) -> W + Send + Sync + 'static,
        W: Future<Output = std::result::Result<(), Failure>> + Send + 'static,
    {
        self.handlers.insert(topic, Arc::new(move |message| Box::pin(handler(message))));
    }

    /// Whether there is a message to deliver.
    pub(crate) async fn anything(&self, store: &Store) -> Result<bool> {
        if self.handlers.is_empty() {
            return Ok(false);
        }
        let topics: Vec<String> = self.handlers.keys().cloned().collect();
        let now = store.clock().now();
        store.read(move |connection| outbox::anything(connection, &topics, now)).await
    }

    /// Delivers what is due, at most a few. At least once: a crash between delivery and its note delivers
    /// again under the same key.
    pub(crate) async fn deliver(self, store: Store) -> Result<u64> {
        let topics: Vec<String> = self.handlers.keys().cloned().collect();
        let mut delivered = 0;
        for _ in 0..16 {
            let topics = topics.clone();
            let Some(message) = store.write(move |tx| outbox::take(tx, &topics, HOLD)).await? else { break };
            let Some(handler) = self.handlers.get(&message.topic) else { break };
            let outcome = match tokio::time::timeout(HOLD / 2, handler(message.clone())).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Failure::retryable(format!("no answer within {:?}", HOLD / 2))),
            };
            delivered += u64::from(outcome.is_ok());
            let retry = self.retry;
            store.write(move |tx| outbox::settle(tx, &message, &outcome, &retry)).await?;
        }
        Ok(delivered)
    }
}
