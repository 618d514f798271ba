//! The manifest of an Indexed Job for Kubernetes.

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::stages::submit::{ArrayJob, GRACE_S, RETRIES, array_task, permanent_codes};

/// The name of the job's only container.
const CONTAINER: &str = "d2r";

/// Codes of a shell that cannot start the command.
const CANNOT_START: [u8; 2] = [126, 127];

/// The code of a process that ended by KILL, for instance for lack of memory.
const KILLED: u8 = 137;

/// Runs the command as a child, passes TERM on to it, and ends with its exit code, with 0 where there was nothing to do.
/// The policy of a job can turn no code into success, and as process 1 of its container the command is not a child.
const WRAPPER: &str = "\
child= ended=
trap 'ended=yes; [ -z \"$child\" ] || kill -TERM \"$child\"' TERM
d2r \"$@\" &
child=$!
[ -z \"$ended\" ] || kill -TERM \"$child\"
wait \"$child\"
code=$?
# TERM ends the first wait before the command has ended; 127: it had ended.
if [ -n \"$ended\" ]; then
  wait \"$child\"
  again=$?
  [ \"$again\" -eq 127 ] || code=$again
fi
[ \"$code\" -ne 99 ] || exit 0
exit \"$code\"
";

/// Where the pods run.
#[derive(Debug, Clone)]
pub struct Pods {
    /// An image in which `d2r` and `/bin/sh` are found.
    pub image: String,
    /// The volume claim that holds lake, runs and images; every node may write to it.
    pub claim: String,
    /// Where it is mounted; relative paths begin there.
    pub mount: String,
    /// User and group of the processes, above 0.
    pub user: u32,
}

/// A Job of `batch/v1`: one pod per part, each with the environment variable `JOB_COMPLETION_INDEX`. A part whose command
/// would fail again is failed at once, a part whose pod was evicted is tried again, every other part [`RETRIES`] times. For
/// Kubernetes 1.29 or newer.
pub fn manifest(job: &ArrayJob, pods: &Pods) -> Value {
    let mut resources = json!({ "cpu": job.cpus.to_string(), "memory": job.memory.kubernetes() });
    let requests = resources.clone();
    if job.gpu {
        resources["nvidia.com/gpu"] = json!("1");
    }
    let mut failing = permanent_codes();
    failing.extend(CANNOT_START);
    let counted = [Exit::Temporary.code(), Exit::Interrupted.code(), KILLED, Exit::Terminated.code()];
    let labels = json!({ "app.kubernetes.io/name": "d2r", "app.kubernetes.io/instance": job.name });
    let mut pod = json!({
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_S,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": pods.user,
            "runAsGroup": pods.user,
            "fsGroup": pods.user,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": [{
            "name": CONTAINER,
            "image": pods.image,
            "command": ["/bin/sh", "-c", WRAPPER, "d2r"],
            "args": job.arguments.iter().map(|a| literal(a)).collect::<Vec<_>>(),
            "workingDir": pods.mount,
            "env": [
                { "name": array_task::SHARDS, "value": job.shards.to_string() },
                { "name": "HOME", "value": "/tmp" },
            ],
            "resources": { "requests": requests, "limits": resources },
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] },
            },
            "volumeMounts": [
                { "name": "work", "mountPath": pods.mount },
                { "name": "tmp", "mountPath": "/tmp" },
            ],
        }],
        "volumes": [
            { "name": "work", "persistentVolumeClaim": { "claimName": pods.claim } },
            { "name": "tmp", "emptyDir": {} },
        ],
    });
    if let Some(time) = job.time {
        pod["activeDeadlineSeconds"] = json!(time.seconds);
    }
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": { "name": job.name, "labels": labels },
        "spec": {
            "completionMode": "Indexed",
            "completions": job.shards,
            "parallelism": job.shards,
            "backoffLimitPerIndex": RETRIES,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": { "rules": [
                {
                    "action": "FailIndex",
                    "onExitCodes": { "containerName": CONTAINER, "operator": "In", "values": failing },
                },
                { "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget", "status": "True" }] },
                // What no rule names is counted too.
                {
                    "action": "Count",
                    "onExitCodes": { "containerName": CONTAINER, "operator": "In", "values": counted },
                },
            ] },
            "template": { "metadata": { "labels": labels }, "spec": pod },
        },
    })
}

/// An argument as a manifest writes it: Kubernetes replaces `$(NAME)` by a variable and reads `$$` as `$`.
fn literal(argument: &str) -> String {
    argument.replace('$', "$$")
}

/// The manifest as YAML. Strings that YAML 1.1 or 1.2 would read as another type are quoted.
///
/// # Errors
/// [`Error::Internal`] when it cannot be written.
pub fn yaml(manifest: &Value) -> Result<String> {
    serde_saphyr::to_string(manifest).map_err(|e| Error::Internal(format!("write the manifest: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::submit::fixtures::job;

    fn pods() -> Pods {
        Pods { image: "registry.example/d2r:0.2.0".into(), claim: "d2r".into(), mount: "/work".into(), user: 1000 }
    }

    #[test]
    fn every_part_is_one_index() {
        let job = manifest(&job(&[]), &pods());
        let spec = &job["spec"];
        assert_eq!((&job["apiVersion"], &job["kind"]), (&json!("batch/v1"), &json!("Job")));
        assert_eq!(spec["completionMode"], "Indexed");
        assert_eq!((&spec["completions"], &spec["parallelism"]), (&json!(8), &json!(8)));
        let container = &spec["template"]["spec"]["containers"][0];
        assert_eq!(container["args"], json!(["report", "--dataset", "mimic", "--shard", "auto"]));
        assert_eq!(container["env"][0], json!({ "name": "D2R_SHARDS", "value": "8" }));
        assert_eq!(container["resources"]["limits"], json!({ "cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1" }));
        assert_eq!(spec["template"]["spec"]["activeDeadlineSeconds"], 86_400);
    }

    #[test]
    fn codes_that_would_come_again_fail_the_index_and_evictions_do_not_count() {
        let job = manifest(&job(&[]), &pods());
        let rules = &job["spec"]["podFailurePolicy"]["rules"];
        assert_eq!(rules[0]["action"], "FailIndex");
        assert_eq!(rules[0]["onExitCodes"]["values"], json!([2, 65, 66, 70, 78, 126, 127]));
        assert_eq!((&rules[1]["action"], &rules[2]["action"]), (&json!("Ignore"), &json!("Count")));
        // A policy needs both.
        assert_eq!(job["spec"]["template"]["spec"]["restartPolicy"], "Never");
        assert_eq!(job["spec"]["backoffLimitPerIndex"], 3);
    }

    #[test]
    fn pods_have_no_rights_that_they_do_not_need() {
        let job = manifest(&ArrayJob { gpu: false, time: None, ..job(&[]) }, &pods());
        let pod = &job["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        let container = &pod["containers"][0];
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
        assert_eq!(container["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
        assert_eq!(container["resources"]["limits"].get("nvidia.com/gpu"), None);
        assert_eq!(pod.get("activeDeadlineSeconds"), None);
    }

    #[test]
    fn yaml_gives_the_same_values_back() {
        let odd =
            ["yes", "on", "null", "1:30:00", "0o17", "1_000", "- a", "#", "a: b", "it's \"q\"", "line\nline", "", "é"];
        let job = manifest(&job(&odd), &pods());
        let text = yaml(&job).unwrap();
        let back: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(back, job, "{text}");
        assert!(text.starts_with("apiVersion: batch/v1\n"), "{text}");
    }

    #[test]
    fn kubernetes_replaces_nothing_in_an_argument() {
        let job = manifest(&job(&["$(HOME) $HOME $$"]), &pods());
        assert_eq!(job["spec"]["template"]["spec"]["containers"][0]["args"][3], "$$(HOME) $$HOME $$$$");
    }
}
