//! The JSON API. Each operation is one call of [`Api::on`], which makes both its route and its description, so that
//! the two cannot part; schemas come from the Rust types.

pub(crate) mod again;
mod places;
mod runs;
mod scans;
mod types;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::access::{Role, Visitor};
use crate::app::Shared;
use crate::data::now::{Now, now};
use crate::fault::{Fault, Problem};

/// The name of a scan, for the description.
const EXAMPLE: &str = "BLS-00042_user/20260704_141200_fungi";

/// An operation, for people and for the description.
struct Operation {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    query: Option<Schema>,
    body: Option<Schema>,
    answer: Schema,
    /// What it needs beyond looking.
    role: Role,
}

impl Operation {
    /// Something to read, for everybody who may look.
    fn looking(path: &'static str, summary: &'static str, answer: Schema) -> Self {
        Self { method: "get", path, summary, query: None, body: None, answer, role: Role::Look }
    }

    /// Something to do, for operators.
    fn acting(path: &'static str, summary: &'static str, body: Schema, answer: Schema) -> Self {
        let (method, role) = ("post", Role::Operate);
        Self { method, path, summary, query: None, body: Some(body), answer, role }
    }

    fn query(self, query: Schema) -> Self {
        Self { query: Some(query), ..self }
    }
}

/// Routes and their description, growing together.
pub(crate) struct Api {
    router: Router<Shared>,
    paths: Map<String, Value>,
    generator: SchemaGenerator,
}

impl Api {
    fn new() -> Self {
        // OpenAPI 3.1 schemas are JSON Schema 2020-12, with definitions in another place.
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self { router: Router::new(), paths: Map::new(), generator: settings.into_generator() }
    }

    fn of<T: JsonSchema>(&mut self) -> Schema {
        self.generator.subschema_for::<T>()
    }

    /// A schema in full, for the parameters of a query.
    fn whole<T: JsonSchema>(&mut self) -> Schema {
        T::json_schema(&mut self.generator)
    }

    fn on(mut self, operation: Operation, handler: MethodRouter<Shared>) -> Self {
        let problem = self.of::<Problem>();
        let entry = describe(&operation, &problem);
        let path = self.paths.entry(described(operation.path)).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(operation.method.to_owned(), entry);
        }
        self.router = self.router.route(operation.path, handler);
        self
    }

    /// The routes, and the description as one of them, that of the volumes included.
    fn finish(mut self, volumes: &Value) -> Router<Shared> {
        let mut schemas = self.generator.take_definitions(true);
        let parts = |pointer: &str| volumes.pointer(pointer).and_then(Value::as_object).cloned();
        self.paths.extend(parts("/paths").unwrap_or_default());
        schemas.extend(parts("/components/schemas").unwrap_or_default());
        let document = json!({
            "openapi": "3.1.0",
            "info": {
                "title": "beamrail",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "Scans, runs and copies of a beamline. Looking needs a session, a token or nobody, as \
                    the server is set up; acting needs the role operate, and for a session's cookie the header \
                    X-CSRF-Token as well.",
            },
            "paths": self.paths,
            "components": {
                "schemas": schemas,
                "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            },
            "security": [{ "token": [] }, {}],
        });
        let text = document.to_string();
        let described = move || async move { ([(header::CONTENT_TYPE, "application/json")], text) };
        self.router.route("/api/openapi.json", get(described))
    }
}

/// The path as OpenAPI writes it: it knows no parameter of several segments, and takes one of a single segment whose
/// slash is written as %2F, which is the same address here.
fn described(path: &str) -> String {
    path.replace("{*", "{")
}

fn describe(operation: &Operation, problem: &Schema) -> Value {
    let mut parameters = Vec::new();
    for part in operation.path.split('/') {
        let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) else { continue };
        parameters.push(match name.strip_prefix('*') {
            None => json!({
                "name": name, "in": "path", "required": true, "schema": { "type": "string", "format": "uuid" },
            }),
            Some(name) => json!({
                "name": name, "in": "path", "required": true, "schema": { "type": "string" },
                "description": "<folder>/<stem>; the slash may stand as it is, or as %2F", "example": EXAMPLE,
            }),
        });
    }
    let query = operation.query.as_ref().map(|schema| schema.as_value());
    let fields = query.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
    for (name, schema) in fields.into_iter().flatten() {
        let list = query.and_then(|schema| schema.get("required")).and_then(Value::as_array);
        let required = list.is_some_and(|list| list.iter().any(|one| one == name));
        parameters.push(json!({ "name": name, "in": "query", "required": required, "schema": schema }));
    }
    let failure =
        |text: &str| json!({ "description": text, "content": { "application/json": { "schema": problem } } });
    let mut entry = json!({
        "summary": operation.summary,
        "operationId": format!("{} {}", operation.method, described(operation.path).trim_start_matches("/api/"))
            .replace(['/', ' ', '{', '}'], "_"),
        "parameters": parameters,
        "responses": {
            "200": { "description": "Done", "content": { "application/json": { "schema": operation.answer } } },
            "4XX": failure("The request cannot be done as it is; the answer says why and what to do"),
            "503": failure("Not now; Retry-After says when"),
        },
        "x-role": operation.role.name(),
    });
    if let (Some(body), Some(entry)) = (&operation.body, entry.as_object_mut()) {
        entry.insert(
            "requestBody".to_owned(),
            json!({ "required": true, "content": { "application/json": { "schema": body } } }),
        );
    }
    entry
}

/// All operations; `volumes` is the viewer's own description.
pub(crate) fn routes(volumes: &Value) -> Router<Shared> {
    let mut api = Api::new();
    let answer = api.of::<Now>();
    let api = api.on(
        Operation::looking("/api/now", "What needs somebody, today's scans, what goes next", answer),
        get(first),
    );
    let api = me(api);
    again::on(places::on(scans::on(runs::on(api)))).finish(volumes)
}

fn me(mut api: Api) -> Api {
    let answer = api.of::<types::Me>();
    api.on(Operation::looking("/api/me", "Who you are and what you may do", answer), get(who))
}

async fn first(State(app): State<Shared>, _: Visitor) -> Result<Json<Now>, Fault> {
    Ok(Json(now(&app).await?))
}

async fn who(State(app): State<Shared>, visitor: Visitor) -> Response {
    let me = types::Me {
        who: visitor.who,
        role: visitor.role,
        csrf: visitor.csrf,
        beamline: app.beamline.id.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    Json(me).into_response()
}
