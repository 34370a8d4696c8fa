//! The HTTP request that a WebSocket begins with.

use std::convert::Infallible;
use std::future::{poll_fn, ready};
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::header::{SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tungstenite::Error;
use tungstenite::error::ProtocolError;
use tungstenite::handshake::server::create_response_with_body;

use crate::transport::Stream;
use crate::websocket::WebSocket;

/// Where MQTT over WebSocket is.
const PATH: &str = "/mqtt";
/// The sub-protocols that are MQTT, the one that is preferred first: that of MQTT 3.1.1 and 5, and what clients of MQTT
/// 3.1 called it, which some still do.
const SUB_PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];
/// What a request may have, in bytes, and in headers: a client's own are a tenth of that; proxies add to it.
const REQUEST_MOST: usize = 8 * 1024;
const HEADERS_MOST: usize = 64;
/// How long one that was refused may take to close.
const READ_PAST_WITHIN: Duration = Duration::from_secs(1);

/// Why there is no WebSocket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpgradeError {
    #[error("the request was answered by {0}")]
    Refused(StatusCode),
    #[error("the request could not be read")]
    Http(#[from] hyper::Error),
    #[error("the refusal could not be sent")]
    Io(#[from] io::Error),
}

/// Reads the request and answers it. The caller sets the deadline.
pub(crate) async fn upgrade(stream: Stream, message_most: u32) -> Result<WebSocket, UpgradeError> {
    let answered = AtomicU16::new(StatusCode::BAD_REQUEST.as_u16());
    let status = &answered;
    let service = service_fn(move |request| {
        let response = answer(&request);
        status.store(response.status().as_u16(), Ordering::Relaxed);
        ready(Ok::<_, Infallible>(response))
    });
    let mut server = http1::Builder::new();
    server.max_buf_size(REQUEST_MOST).max_header_size(REQUEST_MOST).max_headers(HEADERS_MOST);
    let mut connection = server.serve_connection(TokioIo::new(stream), service);
    let served = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    let status = StatusCode::from_u16(answered.load(Ordering::Relaxed)).unwrap_or(StatusCode::BAD_REQUEST);
    if served.is_ok() && status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(WebSocket::new(stream, &parts.read_buf, message_most));
    }
    stream.shutdown().await?;
    // A socket that is closed with bytes unread is reset, and the answer with it may never arrive.
    let mut nowhere = tokio::io::sink();
    drop(timeout(READ_PAST_WITHIN, tokio::io::copy(&mut stream, &mut nowhere)).await);
    served?;
    Err(UpgradeError::Refused(status))
}

/// The answer to a request: 101, or what is wrong and what would be right.
fn answer<B>(request: &Request<B>) -> Response<String> {
    if request.uri().path() != PATH {
        return refusal(StatusCode::NOT_FOUND, "MQTT over WebSocket is at /mqtt, and nothing else is here\n");
    }
    let mut response = match create_response_with_body(request, String::new) {
        Ok(response) => response,
        Err(error) => return no_upgrade(&error),
    };
    let Some(protocol) = sub_protocol(request.headers()) else {
        let text = "a device names its sub-protocol: Sec-WebSocket-Protocol: mqtt\n";
        return refusal(StatusCode::BAD_REQUEST, text);
    };
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    response
}

/// The best of those that are offered, in one header or several.
fn sub_protocol(headers: &HeaderMap) -> Option<&'static str> {
    let headers = headers.get_all(SEC_WEBSOCKET_PROTOCOL);
    let offered: Vec<&str> = headers
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    SUB_PROTOCOLS.into_iter().find(|known| offered.contains(known))
}

fn no_upgrade(error: &Error) -> Response<String> {
    let with = |status, name: HeaderName, value: &'static str, text: &str| {
        let mut response = refusal(status, text);
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        response
    };
    match error {
        Error::Protocol(ProtocolError::WrongHttpMethod) => {
            with(StatusCode::METHOD_NOT_ALLOWED, ALLOW, "GET", "a WebSocket begins with GET\n")
        }
        Error::Protocol(
            ProtocolError::MissingConnectionUpgradeHeader | ProtocolError::MissingUpgradeWebSocketHeader,
        ) => {
            let text = "this is for devices, which come by WebSocket: Upgrade: websocket\n";
            let mut response = with(StatusCode::UPGRADE_REQUIRED, UPGRADE, "websocket", text);
            // A connection option, too (RFC 9110, 7.8).
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close, upgrade"));
            response
        }
        Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader) => {
            let text = "the version of WebSocket is 13\n";
            with(StatusCode::UPGRADE_REQUIRED, SEC_WEBSOCKET_VERSION, "13", text)
        }
        error => refusal(StatusCode::BAD_REQUEST, &format!("{error}\n")),
    }
}

fn refusal(status: StatusCode, text: &str) -> Response<String> {
    let mut response = Response::new(text.to_owned());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(values: &[&'static str]) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(value));
        }
        sub_protocol(&headers)
    }

    #[test]
    fn of_the_sub_protocols_offered_the_one_of_mqtt_is_taken() {
        assert_eq!(offered(&["mqtt"]), Some("mqtt"));
        assert_eq!(offered(&["mqttv3.1"]), Some("mqttv3.1"));
        assert_eq!(offered(&["mqttv3.1, mqtt"]), Some("mqtt"));
        assert_eq!(offered(&["chat", "mqttv3.1 ,x"]), Some("mqttv3.1"));
        for none in [&[][..], &[""], &["chat"], &["MQTT"], &["mqtt5"], &["amqp, mqtt-v5"]] {
            assert_eq!(offered(none), None, "{none:?}");
        }
    }
}
