use axum::body::Body;
use http::{Method, Request, header};
use serde_json::json;
use stoker_proto::core::v1::Severity;

use crate::fake::{alarm, device};
use crate::harness::{Answer, Portal, TOKEN};

const FORM: &str = "application/x-www-form-urlencoded";

pub(crate) fn get(path: &str, cookie: &str) -> Request<Body> {
    Request::get(path).header("host", "stoker.test").header("cookie", cookie).body(Body::empty()).unwrap()
}

pub(crate) fn post(path: &str, cookie: &str, origin: Option<&str>, fields: &str) -> Request<Body> {
    let mut request = Request::post(path).header("host", "stoker.test").header("content-type", FORM);
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    request.header("cookie", cookie).body(Body::from(fields.to_owned())).unwrap()
}

pub(crate) async fn sign_in(portal: &Portal) -> String {
    let answer =
        portal.send(post("/sign-in", "", Some("http://stoker.test"), &format!("secret={TOKEN}"))).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(TOKEN), "the token itself stays out of the browser");
    cookie.split(';').next().unwrap().to_owned()
}

/// The hidden field of the first form on a page.
pub(crate) fn form_token(page: &Answer) -> String {
    let text = page.text();
    let (_, rest) = text.split_once("name=\"token\" value=\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn whoever_is_not_signed_in_is_led_to_where_they_can() {
    let portal = Portal::start().await;
    assert_eq!(portal.send(get("/", "")).await.headers["location"], "/fleet");
    for cookie in ["", "stoker=", "stoker=1.2.3", "stoker=99999999999999.00.00", "other=x"] {
        let answer = portal.send(get("/fleet", cookie)).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.headers["location"]),
            (303, &"/sign-in".parse().unwrap())
        );
    }
    let page = portal.send(get("/sign-in", "")).await;
    assert_eq!((page.status.as_u16(), page.text().contains("type=\"password\"")), (200, true));
    assert!(
        page.text().contains("autocomplete=\"username\""),
        "a password manager keeps a secret with a name"
    );
}

#[tokio::test]
async fn a_wrong_token_signs_nobody_in() {
    let portal = Portal::start().await;
    let answer = portal.send(post("/sign-in", "", None, "secret=wrong")).await;
    assert_eq!(answer.status, 401);
    assert!(!answer.headers.contains_key("set-cookie"));
    assert!(answer.text().contains("not the token"));
}

#[tokio::test]
async fn a_session_that_somebody_changed_is_none() {
    let portal = Portal::start().await;
    let cookie = sign_in(&portal).await;
    assert_eq!(portal.send(get("/fleet", &cookie)).await.status, 200);
    let (until, rest) = cookie.strip_prefix("stoker=").unwrap().split_once('.').unwrap();
    let later = format!("stoker={}.{rest}", until.parse::<i64>().unwrap() + 1);
    assert_eq!(portal.send(get("/fleet", &later)).await.status, 303);
}

#[tokio::test]
async fn an_empty_fleet_says_how_to_connect_the_first_device() {
    let portal = Portal::start().await;
    let cookie = sign_in(&portal).await;
    let page = portal.send(get("/fleet", &cookie)).await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    let text = page.text();
    assert!(
        text.contains("mosquitto_pub -h stoker.test") && text.contains("http://stoker.test/api/v1/devices")
    );
}

#[tokio::test]
async fn the_fleet_shows_devices_and_their_open_alarms_without_scripts() {
    let portal = Portal::start().await;
    let cookie = sign_in(&portal).await;
    portal
        .post("/devices", &json!({"id": "boiler-7", "model": "<b>K200", "site": "north", "tags": ["x"]}))
        .await;
    let raised = alarm(1, "boiler-7", Severity::Critical, "flame <lost>");
    portal.core.0.lock().alarms.insert(raised.id.clone(), raised);
    let page = portal.send(get("/fleet", &cookie)).await;
    let text = page.text();
    for part in
        ["boiler-7", "&lt;b&gt;K200", "north", "never connected", "flame &lt;lost&gt;", "badge critical"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let ours = text.matches("<script src=\"/assets/").count();
    assert_eq!((text.matches("<script").count(), ours), (1, 1), "{text}");
    assert!(!text.contains("style=\"") && !text.contains("https://"), "{text}");
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'"));
    assert!(
        policy.contains("script-src 'self'; connect-src 'self';") && !policy.contains("unsafe"),
        "{policy}"
    );
    let style = text.split("rel=\"stylesheet\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let style = portal.send(get(style, "")).await;
    assert_eq!(style.headers["content-type"], "text/css; charset=utf-8");
}

#[tokio::test]
async fn the_fleet_is_paged_and_filtered() {
    let portal = Portal::start().await;
    let cookie = sign_in(&portal).await;
    for n in 0..60 {
        let id = format!("boiler-{n:02}");
        portal.core.0.lock().devices.insert(id.clone(), device(&id));
    }
    let first = portal.send(get("/fleet?state=never&q=boiler", &cookie)).await.text();
    assert!(first.contains("boiler-49") && !first.contains("boiler-50"));
    let next = first.split("rel=\"next\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let next = next.replace("&amp;", "&");
    assert!(next.contains("state=never"), "{next}");
    let second = portal.send(get(&next, &cookie)).await.text();
    assert!(
        second.contains("boiler-59") && !second.contains("boiler-49") && !second.contains("rel=\"next\"")
    );
    let none = portal.send(get("/fleet?q=nothing", &cookie)).await.text();
    assert!(none.contains("No device is like that"));
}

#[tokio::test]
async fn an_alarm_is_acknowledged_only_by_a_form_of_that_session() {
    let portal = Portal::start().await;
    let cookie = sign_in(&portal).await;
    portal.core.0.lock().devices.insert("b".to_owned(), device("b"));
    let raised = alarm(1, "b", Severity::Critical, "flame lost");
    portal.core.0.lock().alarms.insert(raised.id.clone(), raised);
    let token = form_token(&portal.send(get("/fleet", &cookie)).await);
    let other = form_token(&portal.send(get("/fleet", &sign_in(&portal).await)).await);
    let path = "/alarms/alm-00-1-1/acknowledge";
    let ours = Some("http://stoker.test");
    for (cookie, origin, fields, status) in [
        (cookie.as_str(), Some("http://evil.test"), format!("token={token}"), 403),
        (&cookie, ours, String::new(), 403),
        (&cookie, ours, format!("token={other}"), 403),
        ("", ours, format!("token={token}"), 303),
    ] {
        let answer = portal.send(post(path, cookie, origin, &fields)).await;
        assert_eq!(answer.status.as_u16(), status, "{origin:?} {fields}");
        assert!(portal.core.0.lock().alarms["alm-00-1-1"].acknowledged.is_none());
    }
    let answer = portal.send(post(path, &cookie, ours, &format!("token={token}"))).await;
    assert_eq!((answer.status.as_u16(), &answer.headers["location"]), (303, &"/alarms".parse().unwrap()));
    assert_eq!(portal.core.0.lock().alarms["alm-00-1-1"].acknowledged.as_ref().unwrap().by, "admin");
}

#[tokio::test]
async fn signing_out_takes_the_cookie_away() {
    let portal = Portal::start().await;
    let cookie = sign_in(&portal).await;
    let token = form_token(&portal.send(get("/fleet", &cookie)).await);
    let answer =
        portal.send(post("/sign-out", &cookie, Some("http://stoker.test"), &format!("token={token}"))).await;
    assert_eq!(answer.status, 303);
    assert!(answer.headers[header::SET_COOKIE].to_str().unwrap().starts_with("stoker=; "));
    let wrong = portal.send(post("/sign-out", &cookie, None, "token=00")).await;
    assert_eq!(wrong.status, 403);
    assert_eq!(portal.send(get("/sign-out", &cookie)).await.status, 405);
}

#[tokio::test]
async fn over_https_the_cookie_is_kept_off_plain_connections() {
    let mut config = stoker_portal::PortalConfig::new(TOKEN);
    config.https = true;
    let portal = Portal::with(config).await;
    let answer = portal.send(post("/sign-in", "", None, &format!("secret={TOKEN}"))).await;
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-stoker=") && cookie.contains("; Secure"), "{cookie}");
}

#[tokio::test]
async fn a_page_says_so_when_core_cannot_answer() {
    let portal = Portal::start().await;
    let cookie = sign_in(&portal).await;
    portal.core.0.lock().broken = true;
    let page = portal.send(get("/fleet", &cookie)).await;
    assert_eq!(page.status, 500);
    assert!(page.text().contains("<h1>") && !page.text().contains("secret"));
}

#[tokio::test]
async fn the_console_cookie_opens_no_door_of_the_api() {
    let portal = Portal::start().await;
    let cookie = sign_in(&portal).await;
    let mut request = get("/api/v1/devices", &cookie);
    *request.method_mut() = Method::GET;
    portal.send(request).await.problem(401, "unauthenticated");
}
