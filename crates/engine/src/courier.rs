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

/// The handlers, and how patiently they are called.
#[derive(Clone)]
pub(crate) struct Courier {
    handlers: BTreeMap<String, Arc<Handler>>,
    retry: Retry,
}

impl Default for Courier {
    fn default() -> Self {
        // 2 s, 4 s, ... 1 h: about a day.
        let retry = Retry::attempts(36).first(Duration::from_secs(2)).longest(Duration::from_secs(3600));
        Courier { handlers: BTreeMap::new(), retry }
    }
}

impl Courier {
    pub fn add<F, W>(&mut self, topic: String, handler: F)
    where
        F: Fn(Message) -> W + Send + Sync + 'static,
        W: Future<Output = std::result::Result<(), Failure>> + Send + 'static,
    {
        self.handlers.insert(topic, Arc::new(move |message| Box::pin(handler(message))));
    }

    /// Whether there is a message to deliver.
    pub async fn anything(&self, store: &Store) -> Result<bool> {
        if self.handlers.is_empty() {
            return Ok(false);
        }
        let topics: Vec<String> = self.handlers.keys().cloned().collect();
        let now = store.clock().now();
        store.read(move |connection| outbox::anything(connection, &topics, now)).await
    }

    /// Delivers what is due, at most a few. At least once: a crash between delivery and its note delivers
    /// again under the same key.
    pub async fn deliver(self, store: Store) -> Result<u64> {
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
