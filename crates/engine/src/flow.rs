//! Flows: named async functions, and the registry that a worker knows them by.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::context::Context;
use crate::failure::Failure;

pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Function = dyn Fn(Context, Value) -> Boxed<Result<Value, Failure>> + Send + Sync;

/// A named kind of work.
#[derive(Clone)]
pub struct Flow {
    name: String,
    description: String,
    schema: Value,
    function: Arc<Function>,
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Flow {
    /// A flow from an async function over a [`Context`] and its parameters.
    ///
    /// The parameters' JSON schema comes from their type; unknown parameters are refused if the type says
    /// `#[serde(deny_unknown_fields)]`.
    pub fn new<P, T, F, W>(name: impl Into<String>, function: F) -> Self
    where
        P: DeserializeOwned + schemars::JsonSchema + Send + 'static,
        T: Serialize,
        F: Fn(Context, P) -> W + Send + Sync + 'static,
        W: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let name = name.into();
        let flow = name.clone();
        let call = move |context: Context, parameters: Value| -> Boxed<Result<Value, Failure>> {
            let parameters = serde_json::from_value::<P>(parameters).map_err(|error| {
                Failure::fatal(format!("flow {flow}: its parameters do not fit: {error}"))
                    .with_code("bad-parameters")
            });
            let begun = parameters.map(|parameters| function(context, parameters));
            Box::pin(async move {
                let output = begun?.await?;
                serde_json::to_value(output)
                    .map_err(|error| Failure::fatal(format!("the flow's output is no JSON: {error}")))
            })
        };
        Flow {
            name,
            description: String::new(),
            schema: schemars::schema_for!(P).to_value(),
            function: Arc::new(call),
        }
    }

    /// With a sentence for people.
    #[must_use]
    pub fn describe(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The sentence for people.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The JSON schema of the parameters.
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    pub(crate) fn call(&self, context: Context, parameters: Value) -> Boxed<Result<Value, Failure>> {
        (self.function)(context, parameters)
    }
}

/// The flows that a worker has code for.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    flows: BTreeMap<String, Flow>,
}

impl Registry {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// And this one. A later flow of the same name takes its place.
    #[must_use]
    pub fn with(mut self, flow: Flow) -> Self {
        self.flows.insert(flow.name.clone(), flow);
        self
    }

    /// The flow of this name.
    pub fn get(&self, name: &str) -> Option<&Flow> {
        self.flows.get(name)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Flow> {
        self.flows.values()
    }
}
