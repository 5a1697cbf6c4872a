//! The few calls of the Container Runtime Interface (`runtime.v1`) that a Pod needs, by hand: field
//! numbers are those of `k8s.io/cri-api`.

use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint, Uri};

const IMAGE: &str = "docker.io/library/weft-lab:1";

/// What the Pod is called.
pub(crate) struct Pod<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

/// A Pod that runs.
pub(crate) struct Sandbox {
    id: String,
    config: PodSandboxConfig,
}

/// A client of one containerd.
pub(crate) struct Cri {
    runtime: Runtime,
    channel: Channel,
}

impl Cri {
    pub(crate) fn connect(socket: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime starts");
        let path: PathBuf = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // Only the path of a request counts on a Unix socket.
        let endpoint = Endpoint::from_static("http://containerd");
        let channel = runtime
            .block_on(endpoint.connect_with_connector(connector))
            .expect("containerd accepts connections");
        Self { runtime, channel }
    }

    fn call<Q, A>(&self, method: &'static str, request: Q) -> A
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let path = format!("/runtime.v1.RuntimeService/{method}").parse().expect("a valid path");
        let answer = self.runtime.block_on(async {
            let mut grpc = tonic::client::Grpc::new(self.channel.clone());
            grpc.ready().await.expect("the connection stands");
            let codec = tonic_prost::ProstCodec::<Q, A>::default();
            grpc.unary(tonic::Request::new(request), path, codec).await
        });
        answer.unwrap_or_else(|status| panic!("{method}: {}", status.message())).into_inner()
    }

    /// Whether the runtime has found a network.
    pub(crate) fn network_ready(&self) -> Result<(), String> {
        let answer: StatusResponse = self.call("Status", StatusRequest {});
        let conditions = answer.status.unwrap_or_default().conditions;
        match conditions.iter().find(|condition| condition.kind == "NetworkReady") {
            Some(condition) if condition.status => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }

    pub(crate) fn run_pod(&self, pod: &Pod<'_>) -> Sandbox {
        let metadata = PodSandboxMetadata {
            name: pod.name.to_owned(),
            uid: format!("{}-{}", pod.namespace, pod.name),
            namespace: pod.namespace.to_owned(),
            attempt: 0,
        };
        let config = PodSandboxConfig { metadata: Some(metadata) };
        let request = RunPodSandboxRequest { config: Some(config.clone()) };
        let answer: RunPodSandboxResponse = self.call("RunPodSandbox", request);
        Sandbox { id: answer.pod_sandbox_id, config }
    }

    /// The Pod's addresses as they are reported, the first one first.
    pub(crate) fn addresses(&self, sandbox: &Sandbox) -> Vec<String> {
        let request = SandboxRequest { pod_sandbox_id: sandbox.id.clone() };
        let answer: PodSandboxStatusResponse = self.call("PodSandboxStatus", request);
        let network = answer.status.and_then(|status| status.network).unwrap_or_default();
        let further = network.additional_ips.into_iter().map(|ip| ip.ip);
        std::iter::once(network.ip).chain(further).collect()
    }

    /// Runs a command in the Pod and answers its container's id.
    pub(crate) fn run_container(&self, sandbox: &Sandbox, command: &[&str]) -> String {
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.id.clone(),
            config: Some(ContainerConfig {
                metadata: Some(ContainerMetadata { name: "main".to_owned(), attempt: 0 }),
                image: Some(ImageSpec { image: IMAGE.to_owned() }),
                command: command.iter().map(|&word| word.to_owned()).collect(),
            }),
            sandbox_config: Some(sandbox.config.clone()),
        };
        let answer: ContainerId = self.call("CreateContainer", request);
        let _: Empty = self.call("StartContainer", answer.clone());
        answer.container_id
    }

    /// Runs a command in a container and answers what it printed.
    pub(crate) fn exec(&self, container: &str, command: &[&str]) -> String {
        let request = ExecSyncRequest {
            container_id: container.to_owned(),
            cmd: command.iter().map(|&word| word.to_owned()).collect(),
            timeout: 5,
        };
        let answer: ExecSyncResponse = self.call("ExecSync", request);
        let text = [answer.stdout, answer.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Ends the Pod; the runtime calls the plugins' DEL.
    pub(crate) fn remove_pod(&self, sandbox: &Sandbox) {
        let request = SandboxRequest { pod_sandbox_id: sandbox.id.clone() };
        let _: Empty = self.call("StopPodSandbox", request.clone());
        let _: Empty = self.call("RemovePodSandbox", request);
    }
}

#[derive(Clone, PartialEq, Message)]
struct Empty {}

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<RuntimeStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct RuntimeStatus {
    #[prost(message, repeated, tag = "1")]
    conditions: Vec<RuntimeCondition>,
}

#[derive(Clone, PartialEq, Message)]
struct RuntimeCondition {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(bool, tag = "2")]
    status: bool,
    #[prost(string, tag = "4")]
    message: String,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(uint32, tag = "4")]
    attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<PodSandboxMetadata>,
}

#[derive(Clone, PartialEq, Message)]
struct RunPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct RunPodSandboxResponse {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
}

/// Of `PodSandboxStatus`, `StopPodSandbox` and `RemovePodSandbox`.
#[derive(Clone, PartialEq, Message)]
struct SandboxRequest {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxStatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<PodSandboxStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxStatus {
    #[prost(message, optional, tag = "5")]
    network: Option<PodSandboxNetworkStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxNetworkStatus {
    #[prost(string, tag = "1")]
    ip: String,
    #[prost(message, repeated, tag = "2")]
    additional_ips: Vec<PodIp>,
}

#[derive(Clone, PartialEq, Message)]
struct PodIp {
    #[prost(string, tag = "1")]
    ip: String,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")]
    image: Option<ImageSpec>,
    #[prost(string, repeated, tag = "3")]
    command: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct CreateContainerRequest {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    sandbox_config: Option<PodSandboxConfig>,
}

/// The answer of `CreateContainer`, and the request of `StartContainer`.
#[derive(Clone, PartialEq, Message)]
struct ContainerId {
    #[prost(string, tag = "1")]
    container_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct ExecSyncRequest {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(string, repeated, tag = "2")]
    cmd: Vec<String>,
    #[prost(int64, tag = "3")]
    timeout: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ExecSyncResponse {
    #[prost(bytes = "vec", tag = "1")]
    stdout: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    stderr: Vec<u8>,
}
