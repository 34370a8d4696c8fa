//! All routes put together, and their description.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use axum::{Router, middleware};
use bytes::Bytes;
use http::{HeaderValue, header};
use utoipa::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::problem::{FieldError, PROBLEM_JSON, Problem};
use crate::{App, PortalError, PortalLimits, PortalStats, layers};
use crate::{alarms, attributes, auth, commands, devices, events, import, live, notifications, page, status};
use crate::{subscriptions, telemetry};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Stoker",
        description = "Devices, what they report, what they are told to do, and who is told when they fail.\n\n\
            Every call needs `Authorization: Bearer TOKEN`. Lists come in pages: give `next_cursor` back as `cursor` \
            until it is null. Times are RFC 3339 in UTC, except `ts` of telemetry, which is in milliseconds since the \
            epoch; parameters take both. Every refusal is a problem (RFC 9457) whose `type` is \
            `urn:stoker:problem:NAME`. What happens is told as it happens by the WebSocket `/api/v1/live`. Unknown fields and parameters are refused by name.",
    ),
    servers((url = "/api/v1")),
    components(schemas(Problem, FieldError)),
    security(("token" = [])),
    tags(
        (name = "devices", description = "Controllers that may connect"),
        (name = "telemetry", description = "What they report"),
        (name = "attributes", description = "What is known about them and what they are to know"),
        (name = "commands", description = "Orders, each with a ledger of its states"),
        (name = "events", description = "Immutable facts"),
        (name = "alarms", description = "What needs somebody"),
        (name = "subscriptions", description = "Who wants to know what"),
        (name = "notifications", description = "Who was told, attempt by attempt"),
        (name = "platform", description = "The platform itself"),
    ),
)]
struct Description;

const OPENAPI_PATH: &str = "/api/v1/openapi.json";
const LIVE_PATH: &str = "/api/v1/live";

fn described() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(devices::list, devices::create))
        .routes(routes!(devices::show, devices::change, devices::remove))
        .routes(routes!(import::import))
        .routes(routes!(telemetry::list))
        .routes(routes!(telemetry::latest))
        .routes(routes!(telemetry::summary))
        .routes(routes!(attributes::show, attributes::change))
        .routes(routes!(commands::create, commands::list))
        .routes(routes!(commands::show))
        .routes(routes!(commands::cancel))
        .routes(routes!(events::list))
        .routes(routes!(alarms::list))
        .routes(routes!(alarms::show))
        .routes(routes!(alarms::acknowledge))
        .routes(routes!(alarms::clear))
        .routes(routes!(subscriptions::list, subscriptions::create))
        .routes(routes!(subscriptions::show, subscriptions::change, subscriptions::remove))
        .routes(routes!(subscriptions::test))
        .routes(routes!(notifications::list))
        .routes(routes!(status::show))
}

/// What the API has beside what its description has words for, which WebSockets are not; nor does only a token let in
/// here.
fn beside(description: Bytes) -> [(&'static str, MethodRouter<App>); 2] {
    [
        (LIVE_PATH, axum::routing::get(live::listen)),
        (OPENAPI_PATH, axum::routing::get(move || describe(description.clone()))),
    ]
}

/// The router of what is described, and the description.
fn parts() -> Result<(Router<App>, Bytes), PortalError> {
    let (api, mut openapi) = described().split_for_parts();
    complete(&mut openapi);
    let description = Bytes::from(serde_json::to_vec(&openapi).map_err(PortalError::Description)?);
    Ok((api, description))
}

/// What people's programs find at a portal, taken from what serves it.
#[derive(Debug, Clone)]
pub struct Surface {
    /// The OpenAPI description, in JSON. Its paths stand below `/api/v1`.
    pub description: Vec<u8>,
    /// Whole paths that it has no words for. Each takes GET.
    pub beside: Vec<&'static str>,
    /// What `type` says in the frames of the live feed.
    pub frames: Vec<&'static str>,
}

/// What people's programs find at a portal: the same for all, so none has to run.
///
/// # Errors
/// [`PortalError::Description`] when the description cannot be written.
pub fn surface() -> Result<Surface, PortalError> {
    let (_, description) = parts()?;
    let beside = beside(description.clone()).into_iter().map(|(path, _)| path).collect();
    Ok(Surface { description: description.to_vec(), beside, frames: live::frames().collect() })
}

pub(crate) fn assemble(app: App, limits: PortalLimits, stats: PortalStats) -> Result<Router, PortalError> {
    let (api, description) = parts()?;
    let api = api
        .method_not_allowed_fallback(wrong_method)
        .fallback(no_route)
        .layer(middleware::from_fn_with_state(app.clone(), auth::require_token));
    let docs: Router<App> =
        SwaggerUi::new("/docs").config(utoipa_swagger_ui::Config::from(OPENAPI_PATH)).into();
    let docs = docs.layer(middleware::map_response(allow_scripts));

    let router = Router::new().nest("/api/v1", api);
    let router =
        beside(description).into_iter().fold(router, |router, (path, route)| router.route(path, route));
    Ok(router
        .merge(page::routes())
        .merge(docs)
        .method_not_allowed_fallback(wrong_method)
        .fallback(no_route)
        .with_state(app)
        .layer(middleware::from_fn(layers::catch))
        .layer(middleware::from_fn_with_state(layers::Room::new(limits.requests), layers::admit))
        .layer(middleware::from_fn(layers::harden))
        .layer(middleware::from_fn_with_state(stats, layers::identify)))
}

async fn wrong_method(request: Request) -> Problem {
    Problem::method_not_allowed(request.method())
}

async fn no_route() -> Problem {
    Problem::not_found("there is nothing at this address; GET /docs shows what there is")
}

async fn describe(description: Bytes) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], description).into_response()
}

/// The documentation's page is a script, and styles its parts by attributes.
async fn allow_scripts(mut response: Response) -> Response {
    let policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                  connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

/// Adds what is the same for all: the security scheme and the refusals.
fn complete(openapi: &mut utoipa::openapi::OpenApi) {
    if let Some(components) = &mut openapi.components {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The administrator's token; the first `stoker up` says where it put it."))
            .build();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
    for (path, item) in &mut openapi.paths.paths {
        let one = path.contains("{id}");
        let methods = [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in methods.into_iter().flatten() {
            add_refusals(operation, one);
        }
    }
}

fn add_refusals(operation: &mut Operation, one: bool) {
    let mut refusals = vec![
        ("400", "The request is not of the documented form"),
        ("401", "The token is missing or wrong"),
        ("500", "A fault of the platform"),
        ("503", "The platform cannot answer now; Retry-After says when to ask again"),
    ];
    if one {
        refusals.push(("404", "There is no such thing"));
    }
    if operation.request_body.is_some() {
        refusals.extend([
            ("408", "The body came too slowly"),
            ("413", "The body is too large"),
            ("415", "The body is of another type"),
        ]);
    }
    for (status, description) in refusals {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response = ResponseBuilder::new().description(description).content(PROBLEM_JSON, content).build();
        // What an operation says of its own refusals is more to the point.
        operation.responses.responses.entry(status.to_owned()).or_insert(response.into());
    }
}

#[cfg(test)]
mod tests {
    use utoipa::openapi::path::{HttpMethod, OperationBuilder, PathItem, Paths};
    use utoipa::openapi::{InfoBuilder, OpenApi};

    use super::*;

    #[test]
    fn refusals_are_added_whatever_the_method() {
        use HttpMethod::{Delete, Get, Patch, Post, Put};
        let methods = [("get", Get), ("put", Put), ("post", Post), ("patch", Patch), ("delete", Delete)];
        for (name, method) in methods {
            let item = PathItem::new(method, OperationBuilder::new().build());
            let mut paths = Paths::new();
            paths.paths.insert("/things/{id}".to_owned(), item);
            let mut openapi = OpenApi::new(InfoBuilder::new().title("a").version("1").build(), paths);
            complete(&mut openapi);
            let json = serde_json::to_value(&openapi).unwrap();
            let operation = &json["paths"]["/things/{id}"][name];
            for status in ["400", "401", "404", "500", "503"] {
                assert!(operation["responses"][status].is_object(), "{name} {status}: {json}");
            }
        }
    }
}
