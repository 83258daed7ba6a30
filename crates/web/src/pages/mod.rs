//! The pages, a file each. A handler reads values from [`data`](crate::data) and gives them their looks.

pub(crate) mod advice;
pub(crate) mod again;
pub(crate) mod compare;
pub(crate) mod explained;
pub(crate) mod layout;
pub(crate) mod login;
pub(crate) mod looks;
pub(crate) mod now;
mod ordered;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod scan;
pub(crate) mod scans;
pub(crate) mod settings;
pub(crate) mod sites;
pub(crate) mod storage;
mod timeline;
