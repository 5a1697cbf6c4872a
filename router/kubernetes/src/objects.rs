//! The streams of objects: what is asked for, and as what it comes out.

use std::fmt::Debug;

use futures_util::stream::{BoxStream, StreamExt};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1 as networking;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::{ObjectMeta, PartialObjectMeta};
use kube::runtime::watcher;
use serde_json::{Value, json};

use crate::{Object, ObjectId, Resource};

/// What [`watcher`] yields, of any resource.
pub(crate) type Objects = BoxStream<'static, watcher::Result<watcher::Event<Object>>>;

/// How many seconds the API server may let an idle watch last. It ends it then in good order, and the connection serves
/// the next one; where that end does not come, five seconds later the server or the way to it is dead, whatever the
/// kernel thinks of the connection. At a thousand nodes this makes a hundred requests a second, each resumed from memory.
const WATCH_SECONDS: u32 = 40;

/// How many more at most, so that those of many nodes do not end together.
const WATCH_SPREAD: u32 = 8;

/// How many Nodes come at a time: with their images they are the largest objects that are watched, about 20 kB each.
const NODES_PAGE: u32 = 100;

/// All objects of a resource and their changes. Lists come in pages, and from a quorum: an API server that lags must not
/// bring back a policy that is gone.
pub(crate) fn objects(resource: Resource, client: Client, node: &str) -> Objects {
    let spread = getrandom::u32().unwrap_or(0) % (WATCH_SPREAD + 1);
    let config = watcher::Config::default().timeout(WATCH_SECONDS + spread);
    let kind = api_resource(resource);
    match resource {
        Resource::Nodes => full(kind, client, config.page_size(NODES_PAGE)),
        Resource::NetworkPolicies => full(kind, client, config),
        Resource::Pods => full(kind, client, config.fields(&format!("spec.nodeName={node}"))),
        Resource::Namespaces => {
            let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client, &kind);
            convert(watcher(api, config), move |partial| from_metadata(&kind, partial.metadata))
        }
    }
}

fn full(kind: ApiResource, client: Client, config: watcher::Config) -> Objects {
    let api: Api<DynamicObject> = Api::all_with(client, &kind);
    convert(watcher(api, config), move |object| from_dynamic(&kind, object))
}

/// The name and the place of a resource in the API.
pub(crate) fn api_resource(resource: Resource) -> ApiResource {
    match resource {
        Resource::Nodes => ApiResource::erase::<core::Node>(&()),
        Resource::Namespaces => ApiResource::erase::<core::Namespace>(&()),
        Resource::NetworkPolicies => ApiResource::erase::<networking::NetworkPolicy>(&()),
        Resource::Pods => ApiResource::erase::<core::Pod>(&()),
    }
}

fn convert<K: Debug + Send + 'static>(
    stream: impl futures_util::Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
    object: impl Fn(K) -> Object + Send + 'static,
) -> Objects {
    let convert = move |event| match event {
        watcher::Event::Apply(found) => watcher::Event::Apply(object(found)),
        watcher::Event::Delete(found) => watcher::Event::Delete(object(found)),
        watcher::Event::Init => watcher::Event::Init,
        watcher::Event::InitApply(found) => watcher::Event::InitApply(object(found)),
        watcher::Event::InitDone => watcher::Event::InitDone,
    };
    stream.map(move |item| item.map(&convert)).boxed()
}

/// `object` with the type that lists leave out.
fn from_dynamic(kind: &ApiResource, object: DynamicObject) -> Object {
    let mut whole = from_metadata(kind, object.metadata);
    if let (Value::Object(value), Value::Object(rest)) = (&mut whole.value, object.data) {
        value.extend(rest);
    }
    whole
}

fn from_metadata(kind: &ApiResource, metadata: ObjectMeta) -> Object {
    Object {
        id: ObjectId {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        },
        uid: metadata.uid.clone().unwrap_or_default(),
        value: json!({ "apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata }),
    }
}
