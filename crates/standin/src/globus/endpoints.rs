//! Collections as Transfer's documents.

use serde_json::{Value, json};

use super::Collection;
use super::http::{Answer, Reply, Request};
use super::state::World;

pub fn get(world: &World, request: &Request, id: &str) -> Reply {
    Ok(Answer::ok(document(world, world.endpoint_of(request, id)?)))
}

/// Full text search over names and ids; other scopes than `all` find the same.
pub fn search(world: &World, request: &Request) -> Reply {
    let words: Vec<String> =
        request.q("filter_fulltext").unwrap_or("").split_whitespace().map(str::to_lowercase).collect();
    let found: Vec<Value> = world
        .config
        .collections
        .iter()
        .filter(|collection| {
            let text = format!("{} {}", collection.name, collection.id).to_lowercase();
            words.iter().all(|word| text.contains(word))
        })
        .map(|collection| document(world, collection))
        .collect();
    let (offset, limit) = (request.number("offset", 0), request.number("limit", 100));
    let page: Vec<Value> = found.iter().skip(offset).take(limit).cloned().collect();
    Ok(Answer::ok(json!({
        "DATA_TYPE": "endpoint_list", "offset": offset, "limit": limit,
        "has_next_page": offset + page.len() < found.len(), "DATA": page,
    })))
}

fn document(world: &World, collection: &Collection) -> Value {
    let mapped = collection.needs_consent;
    let owner = world.config.clients.first().map(|(id, _)| id.as_str());
    json!({
        "DATA_TYPE": "endpoint",
        "id": collection.id,
        "display_name": collection.name,
        "canonical_name": format!("standin#{}", collection.id),
        "name": collection.id,
        "entity_type": if mapped { "GCSv5_mapped_collection" } else { "GCSv5_guest_collection" },
        "owner_id": owner,
        "owner_string": owner.map(|id| format!("{id}@clients.auth.globus.org")),
        "username": null, "organization": "stand-in", "department": null, "description": null,
        "contact_email": null, "contact_info": null, "info_link": null, "user_message": null,
        "user_message_link": null, "keywords": [], "public": false, "shareable": mapped,
        "acl_available": !mapped, "acl_editable": false, "acl_max_expiration_period_mins": null,
        "activated": true, "expires_in": -1, "expire_time": null, "in_use": false,
        "default_directory": "/", "high_assurance": false, "mfa_required": false, "force_encryption": false,
        "disable_verify": false, "force_verify": false, "disable_anonymous_writes": false,
        "allow_guest_collections": mapped, "authentication_timeout_mins": null, "authentication_policy_id": null,
        "gcp_connected": null, "gcp_paused": null, "gcs_version": "5.4.80", "gcs_manager_url": null,
        "is_globus_connect": false, "globus_connect_setup_key": null, "local_user_info_available": null,
        "host_endpoint_id": null, "host_endpoint": null, "host_path": null, "host_endpoint_display_name": null,
        "mapped_collection_id": null, "mapped_collection_display_name": null,
        "non_functional": false, "non_functional_endpoint_id": null, "non_functional_endpoint_display_name": null,
        "last_accessed_time": null, "location": null, "network_use": "normal",
        "max_concurrency": 4, "preferred_concurrency": 2, "max_parallelism": 8, "preferred_parallelism": 4,
        "my_effective_roles": ["administrator"], "requester_pays": false, "s3_owner_activated": false, "s3_url": null,
        "sharing_target_endpoint": null, "sharing_target_root_path": null, "storage_type": "POSIX",
        "subscription_id": null, "subscription_admin_verified": null, "supported": true, "tlsftp_server": null,
        "https_server": null, "oauth_server": null, "myproxy_server": null, "myproxy_dn": null, "DATA": [],
    })
}
