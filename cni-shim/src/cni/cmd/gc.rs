//! GC: free what belongs to this network and to no container that the runtime knows.

use weft_api::attach::{Attachment, AttachmentQuery};

use super::Call;
use crate::cni::Plugin;
use crate::cni::error::{CniError, Code};
use crate::{fault, wire};

/// Removes the interfaces, and frees the addresses, of all attachments of this network that the list
/// of valid ones does not have. What `weft attach` or another network made is left alone, and so are
/// interfaces where `weft-ipam` has given addresses to another plugin's. Goes on after a failure.
///
/// # Errors
/// [`Code::CONFIG`] without a list: nothing is freed by mistake. Otherwise the first failure, with
/// the others in its details.
pub async fn run(call: &Call, plugin: Plugin) -> Result<(), CniError> {
    let valid = call.config.valid_attachments.as_ref().ok_or_else(|| {
        CniError::new(Code::CONFIG, "cni.dev/valid-attachments is missing: nothing is freed")
    })?;
    let network =
        AttachmentQuery { network: Some(call.config.name.clone()), ..AttachmentQuery::default() };
    let known = call.patiently(|| call.client.attachments(&network)).await?;
    let mut failures = Vec::new();
    for attachment in known {
        let key = (attachment.container.clone(), attachment.ifname.clone());
        if !valid.contains(&key)
            && let Err(error) = free(call, plugin, &attachment).await
        {
            failures.push(error.details(format!("container {}, interface {}", key.0, key.1)));
        }
    }
    let mut failures = failures.into_iter();
    let Some(first) = failures.next() else { return Ok(()) };
    Err(failures.fold(first, |all, next| all.details(format!("{}: {}", next.msg, next.details))))
}

async fn free(call: &Call, plugin: Plugin, attachment: &Attachment) -> Result<(), CniError> {
    if plugin == Plugin::Net {
        wire::detach(&attachment.container, &attachment.ifname).await?;
    }
    fault::point("collected");
    let key = AttachmentQuery {
        container: Some(attachment.container.clone()),
        ifname: Some(attachment.ifname.clone()),
        network: attachment.network.clone(),
    };
    call.client.detach(&key).await?;
    Ok(())
}
