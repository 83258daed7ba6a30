//! Where `${NAME}` and the credentials of services come from.

use std::fmt;
use std::sync::Arc;

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

/// The variables that a configuration is used with: this process's, unless others stand before them. What they
/// hold may be secret, so it is never shown.
#[derive(Clone, Default)]
pub struct Environment(Option<Arc<Lookup>>);

impl Environment {
    /// `first` is asked before this process's environment.
    pub fn before(first: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(first)))
    }

    /// A variable; an empty one counts as not set.
    pub fn get(&self, name: &str) -> Option<String> {
        let first = self.0.as_ref().and_then(|first| first(name));
        first.or_else(|| std::env::var(name).ok()).filter(|text| !text.is_empty())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Environment(with more)" } else { "Environment" })
    }
}

impl PartialEq for Environment {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_wins_and_is_not_shown() {
        let more = Environment::before(|name| (name == "PATH").then(|| "hunter2".to_owned()));
        assert_eq!(more.get("PATH").as_deref(), Some("hunter2"));
        assert!(!format!("{more:?}").contains("hunter2"));
        assert_eq!(Environment::default().get("PATH"), std::env::var("PATH").ok());
        assert_eq!(more.get("BEAMRAIL_NO_SUCH_VARIABLE"), None);
        assert!(more == more.clone() && more != Environment::default());
    }
}
