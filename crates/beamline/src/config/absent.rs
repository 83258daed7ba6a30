//! Sites and facilities that are configured and cannot be used, because this version does not know their kind or
//! because a variable is not set: every use is an error that says so.

use std::time::Duration;

use async_trait::async_trait;
use custody::{DeletePermit, DeleteReceipt, FileList, Observation, Reach, RelPath, Seen, TransferPermit};
use jiff::Timestamp;
use sites::{
    Compute, Digests, Error, JobHandle, JobSpec, JobState, ListLimits, Place, Result, Storage, Transferred,
    Watch,
};

/// A place that cannot be used.
pub(super) struct Absent {
    /// The site or facility.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// Why.
    pub reason: String,
}

impl Absent {
    fn why(&self) -> String {
        format!("{} (kind {:?}) {}", self.name, self.kind, self.reason)
    }

    fn refuse<T>(&self) -> Result<T> {
        let (value, reason) = (format!("{} ({})", self.kind, self.name), self.reason.clone());
        Err(Error::Value { name: "kind", value, reason })
    }
}

#[async_trait]
impl Storage for Absent {
    fn site(&self) -> &str {
        &self.name
    }

    fn place(&self) -> Place {
        Place::Collection { id: self.name.clone(), root: String::new(), data_access: false }
    }

    async fn stat(&self, _: &RelPath) -> Result<Option<Seen>> {
        self.refuse()
    }

    async fn list(&self, _: &RelPath, _: ListLimits) -> Result<Vec<Seen>> {
        self.refuse()
    }

    async fn read_small(&self, _: &RelPath, _: u64) -> Result<Vec<u8>> {
        self.refuse()
    }

    async fn write_small(&self, _: &RelPath, _: &[u8]) -> Result<()> {
        self.refuse()
    }

    async fn make_folder(&self, _: &RelPath) -> Result<()> {
        self.refuse()
    }

    async fn rename(&self, _: &RelPath, _: &RelPath) -> Result<()> {
        self.refuse()
    }

    async fn digest(&self, _: &RelPath, _: &Watch) -> Result<String> {
        self.refuse()
    }

    async fn free_space(&self) -> Result<Option<u64>> {
        self.refuse()
    }

    async fn observe(&self, base: &RelPath, _: &FileList, _: Digests, now: Timestamp) -> Observation {
        Observation {
            site: self.name.clone(),
            base: base.clone(),
            observed_at: now,
            reach: Reach::Unreachable(self.why()),
        }
    }

    async fn transfer(
        &self,
        _: TransferPermit,
        _: &dyn Storage,
        _: &str,
        _: &Watch,
        _: Timestamp,
    ) -> Result<Transferred> {
        self.refuse()
    }

    async fn delete(&self, _: DeletePermit, _: Timestamp) -> Result<DeleteReceipt> {
        self.refuse()
    }
}

#[async_trait]
impl Compute for Absent {
    fn facility(&self) -> &str {
        &self.name
    }

    async fn start(&self, _: &JobSpec) -> Result<JobHandle> {
        self.refuse()
    }

    async fn state(&self, _: &JobHandle) -> Result<JobState> {
        self.refuse()
    }

    async fn cancel(&self, _: &JobHandle, _: Duration) -> Result<JobState> {
        self.refuse()
    }

    async fn log_tail(&self, _: &JobHandle, _: u64) -> Result<String> {
        self.refuse()
    }
}
