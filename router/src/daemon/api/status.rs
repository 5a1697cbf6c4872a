//! The status port: `/metrics`, `/healthz`, `/readyz`. No control here.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::{Command, Door};

/// Serves until the runtime ends.
pub(in crate::daemon) fn serve(listener: TcpListener, door: Door) {
    let app = axum::Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(door);
    tokio::spawn(async move {
        if let Err(e) = axum::serve(listener, app).await {
            tracing::error!(error = %e, "the status port failed");
        }
    });
}

async fn metrics(State(door): State<Door>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match door.ask(Command::Metrics).await {
        Ok(snapshot) => match snapshot.encode() {
            Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
            Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, e.to_string()).into_response(),
        },
        Err(e) => (StatusCode::SERVICE_UNAVAILABLE, e.message).into_response(),
    }
}

/// 200 while the event loop answers.
async fn healthz(State(door): State<Door>) -> Response {
    match door.ask(Command::Status).await {
        Ok(_) => (StatusCode::OK, "ok\n").into_response(),
        Err(e) => (StatusCode::SERVICE_UNAVAILABLE, e.message).into_response(),
    }
}

/// 200 when a Pod could be served; else 503 and why not.
async fn readyz(State(door): State<Door>) -> Response {
    match door.ask(Command::Status).await {
        Ok(status) if status.ready => (StatusCode::OK, "ready\n").into_response(),
        Ok(status) => {
            // Where the ring is ready, something else is not, and it stands among the warnings.
            let lines = std::iter::once(format!("ipam: {}", status.ipam.state));
            let text: Vec<_> = lines.chain(status.warnings).collect();
            (StatusCode::SERVICE_UNAVAILABLE, text.join("\n") + "\n").into_response()
        }
        Err(e) => (StatusCode::SERVICE_UNAVAILABLE, e.message).into_response(),
    }
}
