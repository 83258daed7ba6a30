//! Scopes: what a token may be used for, with the scopes that the service in turn needs of others.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The scopes of Globus Transfer.
const TRANSFER: &str = "urn:globus:auth:scope:transfer.api.globus.org:all";
/// The scopes of Globus Flows begin like this; the id is the service's.
const FLOWS: &str = "https://auth.globus.org/scopes/eec9b274-0c81-4334-bdc2-54e90e689b9a/";
/// The scope of Globus Compute; the id is the service's.
const COMPUTE: &str = "https://auth.globus.org/scopes/facd7ccc-c5f4-42aa-916b-a0e270e2c2a9/all";

/// One scope with its dependent scopes, written `scope[dependent *optional]`.
///
/// `*` marks a dependency that can be revoked by itself (Globus calls it optional or atomically revocable): that
/// is how `data_access` to a mapped collection is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    name: String,
    optional: bool,
    dependencies: Vec<Scope>,
}

impl Scope {
    /// A scope by its name.
    ///
    /// # Errors
    /// The name is empty or holds blanks, brackets or a leading `*`.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let bad = name.is_empty()
            || name.starts_with('*')
            || name.chars().any(|c| c.is_whitespace() || c.is_control() || "[]".contains(c));
        match bad {
            true => Err(Error::Value {
                name: "scope",
                value: name,
                reason: "a scope is one word without brackets; use Scope::parse for whole expressions".into(),
            }),
            false => Ok(Self::of(name)),
        }
    }

    fn of(name: impl Into<String>) -> Self {
        Self { name: name.into(), optional: false, dependencies: Vec::new() }
    }

    /// All of Transfer.
    pub fn transfer() -> Self {
        Self::of(TRANSFER)
    }

    /// All of Transfer, with access to the data of these mapped collections. Only non-high-assurance collections
    /// of Globus Connect Server that are mapped have this scope: for a guest collection the service answers
    /// "Unknown Scope".
    ///
    /// # Errors
    /// A collection's id is not one word.
    pub fn transfer_with_data_access<S: AsRef<str>>(collections: &[S]) -> Result<Self> {
        let mut scope = Self::transfer();
        for collection in collections {
            scope = scope.with(Self::data_access(collection.as_ref())?.optional());
        }
        Ok(scope)
    }

    /// Access to the data of a mapped collection.
    ///
    /// # Errors
    /// The id is not one word.
    pub fn data_access(collection: &str) -> Result<Self> {
        Self::new(format!("https://auth.globus.org/scopes/{collection}/data_access"))
    }

    /// All of Flows (`all`), or a part: `manage_flows`, `view_flows`, `run`, `run_status`, `run_manage`.
    ///
    /// # Errors
    /// The part is not one word.
    pub fn flows(part: &str) -> Result<Self> {
        Self::new(format!("{FLOWS}{part}"))
    }

    /// Starting runs of one flow. Its tokens belong to the flow, not to the service.
    ///
    /// # Errors
    /// The id is not one word.
    pub fn flow(flow: &str) -> Result<Self> {
        Self::new(format!("https://auth.globus.org/scopes/{flow}/flow_{}_user", flow.replace('-', "_")))
    }

    /// All of Compute.
    pub fn compute() -> Self {
        Self::of(COMPUTE)
    }

    /// Who the client is.
    pub fn openid() -> Self {
        Self::of("openid")
    }

    /// The scope's name, without its dependencies.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The scopes that it depends on.
    pub fn dependencies(&self) -> &[Scope] {
        &self.dependencies
    }

    /// Whether it can be revoked by itself.
    pub fn is_optional(&self) -> bool {
        self.optional
    }

    /// The same, revocable by itself.
    #[must_use]
    pub fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    /// The same with one more dependency; a second mention of a dependency is merged into the first.
    #[must_use]
    pub fn with(mut self, dependency: Self) -> Self {
        match self.dependencies.iter_mut().find(|known| known.name == dependency.name) {
            Some(known) => known.merge(dependency),
            None => self.dependencies.push(dependency),
        }
        self
    }

    /// Takes over the other's dependencies. Where one of the two is required, both are.
    pub fn merge(&mut self, other: Self) {
        self.optional &= other.optional;
        for dependency in other.dependencies {
            let own = std::mem::replace(self, Self::of(""));
            *self = own.with(dependency);
        }
    }

    /// Whether a token for this scope serves for the other too.
    pub fn covers(&self, other: &Self) -> bool {
        let known = |wanted: &Scope| self.dependencies.iter().any(|own| own.covers(wanted));
        self.name == other.name && other.dependencies.iter().all(known)
    }

    /// Reads scopes separated by blanks.
    ///
    /// # Errors
    /// Brackets that do not match, or a `*` before nothing.
    pub fn parse(text: &str) -> Result<Vec<Self>> {
        let mut reader = Reader { text, rest: text };
        let scopes = reader.list(0)?;
        match reader.rest.is_empty() {
            true => Ok(scopes),
            false => Err(reader.bad("a \"]\" without its \"[\"")),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.optional { "*" } else { "" }, self.name)?;
        for (at, dependency) in self.dependencies.iter().enumerate() {
            write!(f, "{}{dependency}", if at == 0 { "[" } else { " " })?;
        }
        if self.dependencies.is_empty() { Ok(()) } else { f.write_str("]") }
    }
}

impl FromStr for Scope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut scopes = Self::parse(text)?;
        match (scopes.pop(), scopes.is_empty()) {
            (Some(scope), true) => Ok(scope),
            _ => Err(Reader { text, rest: "" }.bad("one scope is wanted")),
        }
    }
}

/// How deep scopes may depend on each other; no service goes beyond four.
const DEEPEST: usize = 32;

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Reader<'_> {
    fn bad(&self, reason: &str) -> Error {
        Error::Value { name: "scope", value: self.text.to_owned(), reason: reason.to_owned() }
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Scope>> {
        if depth > DEEPEST {
            return Err(self.bad("its brackets are nested too deeply"));
        }
        let mut scopes = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.is_empty() || self.rest.starts_with(']') {
                return Ok(scopes);
            }
            let plain = self.rest.strip_prefix('*');
            let optional = plain.is_some();
            let word = plain.unwrap_or(self.rest);
            let end = word.find(|c: char| c.is_whitespace() || "[]".contains(c)).unwrap_or(word.len());
            let (name, after) = word.split_at(end);
            let mut scope = Scope::new(name).map_err(|_| self.bad("a \"*\" or \"[\" without a name"))?;
            scope.optional = optional;
            self.rest = after;
            if let Some(inner) = after.strip_prefix('[') {
                self.rest = inner;
                for dependency in self.list(depth + 1)? {
                    scope = scope.with(dependency);
                }
                self.rest =
                    self.rest.strip_prefix(']').ok_or_else(|| self.bad("a \"[\" without its \"]\""))?;
            }
            scopes.push(scope);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLLECTION: &str = "df82346e-9a15-11ea-b3c4-0ae144191ee3";

    #[test]
    fn scopes_are_written_as_the_service_reads_them() {
        let scope = Scope::transfer_with_data_access(&[COLLECTION]).unwrap();
        assert_eq!(
            scope.to_string(),
            format!("{TRANSFER}[*https://auth.globus.org/scopes/{COLLECTION}/data_access]")
        );
        let flow = "24bc4997-b483-4c25-a19c-64b0afc00743";
        let scope = Scope::flow(flow).unwrap().with(scope);
        let text = scope.to_string();
        assert!(text.starts_with(
            "https://auth.globus.org/scopes/24bc4997-b483-4c25-a19c-64b0afc00743/flow_24bc4997_b483_4c25_a19c_64b0afc00743_user[urn:"
        ));
        assert!(text.ends_with("data_access]]"));
        assert_eq!(text.parse::<Scope>().unwrap(), scope);
    }

    #[test]
    fn scopes_are_read_merged_and_compared() {
        let both = Scope::parse("a[b *c[d]]  e").unwrap();
        assert_eq!(both.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a[b *c[d]]", "e"]);
        let mut one: Scope = "a[*b]".parse().unwrap();
        assert!(!one.covers(&both[0]));
        one.merge(both[0].clone());
        assert_eq!(one.to_string(), "a[b *c[d]]");
        assert!(one.covers(&both[0]) && one.covers(&"a".parse().unwrap()));
        for wrong in ["a[b", "a]", "[b]", "*", "a b c[", "a[* b]"] {
            assert!(Scope::parse(wrong).is_err(), "{wrong}");
        }
        assert!("a b".parse::<Scope>().is_err() && "".parse::<Scope>().is_err());
        assert!(Scope::parse(&"a[".repeat(100_000)).is_err());
    }
}
