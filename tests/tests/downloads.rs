//! What scripts download is compared with a digest of the project before it is used: every command that downloads is one
//! of the forms below, every lock file holds digests, and `docs/supply-chain.md` lists every script that downloads.

use std::path::Path;

use d2r_acceptance::root;
use walkdir::WalkDir;

/// A command that downloads, and the words that must stand beside it. Where there are two lists, one of them suffices.
struct Form {
    command: &'static str,
    needs: &'static [&'static [&'static str]],
}

const fn form(command: &'static str, needs: &'static [&'static [&'static str]]) -> Form {
    Form { command, needs }
}

/// No form of the command is allowed.
const NEVER: &[&[&str]] = &[];
const LOCKED: &[&[&str]] = &[&["--locked"]];

const FORMS: &[Form] = &[
    // Wheels alone: to build from source would fetch packages that no lock file of ours lists.
    form(
        "pip install",
        &[
            &["--require-hashes", "--only-binary :all:", "-r requirements/"],
            // The lock file is chosen above the command.
            &["--require-hashes", "--only-binary :all:", "-r \"$"],
            &["--no-index", "--no-deps"],
        ],
    ),
    form("uv build", &[&["--require-hashes", "--build-constraints requirements/"]]),
    form("pip download", NEVER),
    form("pip wheel", NEVER),
    form("uv sync", NEVER),
    form("uv run", NEVER),
    form("uv tool", NEVER),
    form("uv python install", NEVER),
    form("uvx ", NEVER),
    form("pipx ", NEVER),
    form("conda install", NEVER),
    form("python -m build", NEVER),
    // Takes what the lock file says, and nothing else.
    form("npm ci", &[&[]]),
    form("npm install", NEVER),
    form("npm i ", NEVER),
    form("npm exec", NEVER),
    form("npx ", NEVER),
    form("yarn ", NEVER),
    form("pnpm ", NEVER),
    form("playwright install", NEVER),
    form("cargo build", LOCKED),
    form("cargo check", LOCKED),
    form("cargo clippy", LOCKED),
    form("cargo doc", LOCKED),
    form("cargo run", LOCKED),
    form("cargo rustc", LOCKED),
    form("cargo test", LOCKED),
    form("\"${build[@]}\"", LOCKED),
    form("cargo install", &[&["--locked", "--path"]]),
    form("cargo add", NEVER),
    form("cargo binstall", NEVER),
    form("cargo fetch", LOCKED),
    form("cargo update", NEVER),
    // The archive goes into cargo's cache, where `cargo_tool.sh` compares it.
    form("cargo info", &[&["\"$name@$version\""]]),
    // rustup compares with the manifest of the toolchain that is installed already.
    form("rustup target add", &[&[]]),
    form("rustup toolchain", NEVER),
    form("rustup update", NEVER),
    // apt compares with indices that Debian's keys sign.
    form("apt-get install", &[&[]]),
    form("apt install", NEVER),
    form("allow-unauthenticated", NEVER),
    form("trusted=yes", NEVER),
    form("add-apt-repository", NEVER),
    form("dpkg -i", NEVER),
    form("curl ", NEVER),
    form("wget ", NEVER),
    form("urlretrieve", NEVER),
    form("urlopen", NEVER),
    form("docker pull", NEVER),
    form("docker run", NEVER),
    // A copy of this very tree.
    form("git clone", &[&["git clone -q .\","]]),
    form("git submodule", NEVER),
    form("go install", NEVER),
    form("gem install", NEVER),
    form("| sh", NEVER),
    form("| bash", NEVER),
];

/// Commands that name a download and make none, or whose data the project itself gives.
const NOT_DOWNLOADS: [&str; 5] = ["cargo build", "cargo clippy", "cargo test", "git clone", "\"${build[@]}\""];

const ENDINGS: [&str; 9] = ["sh", "py", "mjs", "js", "yml", "yaml", "mk", "rb", "ps1"];
const SKIPPED: [&str; 10] =
    ["node_modules", "target", "site", "dist", "book", "demo", "quickstart", "bench-results", "__pycache__", ".git"];

/// Files of the tree for which `wanted` holds, by their paths below the root. Hidden folders but `.ci` are left out.
fn files(wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let walk = WalkDir::new(root()).into_iter().filter_entry(|e| {
        let name = e.file_name().to_string_lossy();
        e.depth() == 0 || !SKIPPED.contains(&name.as_ref()) && (!name.starts_with('.') || name == ".ci")
    });
    for entry in walk.filter_map(Result::ok).filter(|e| e.file_type().is_file()) {
        let name = entry.path().strip_prefix(root()).unwrap_or(entry.path()).to_string_lossy().replace('\\', "/");
        if wanted(&name)
            && let Ok(text) = std::fs::read_to_string(entry.path())
        {
            found.push((name, text));
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

/// A Makefile, a Dockerfile, a script by its ending, or a file without an ending that begins with `#!`.
fn is_script(name: &str) -> bool {
    let path = Path::new(name);
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let begins = || std::fs::read(root().join(name)).is_ok_and(|bytes| bytes.starts_with(b"#!"));
    match path.extension() {
        Some(ending) => ENDINGS.contains(&ending.to_string_lossy().as_ref()) || file.starts_with("Dockerfile"),
        None => ["Makefile", "Dockerfile", "Containerfile"].contains(&file.as_ref()) || begins(),
    }
}

/// The lines of a script with the numbers of their first lines: without comments, continued lines joined, and lists of
/// words as in `["npm", "ci"]` as commands.
fn commands(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut open): (Vec<(usize, String)>, bool) = (Vec::new(), false);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if !open && (line.starts_with('#') || line.starts_with("//")) {
            continue;
        }
        let line = line.replace("\", \"", " ").replace("', '", " ");
        // A message that says what a person may type.
        let line = line.replace("sudo apt-get", "").replace("(apt-get", "");
        let (part, continued) = line.strip_suffix('\\').map_or((line.as_str(), false), |part| (part, true));
        match found.last_mut().filter(|_| open) {
            Some((_, whole)) => whole.push_str(part),
            None => found.push((number + 1, part.to_owned())),
        }
        open = continued;
    }
    found
}

/// The forms whose command is in the line, not as a part of a longer word.
fn forms_in(line: &str) -> impl Iterator<Item = &'static Form> {
    FORMS.iter().filter(move |form| {
        line.match_indices(form.command).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + form.command.len()..].chars().next();
            let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-');
            !inside(before) && (!inside(after) || form.command.ends_with(' '))
        })
    })
}

/// Downloads without a digest, with file and line.
fn unpinned(name: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, line) in commands(text) {
        for form in forms_in(&line) {
            if !form.needs.iter().any(|words| words.iter().all(|word| line.contains(word))) {
                wrong.push(format!("{name}:{number}: `{}` without a digest of the project", form.command.trim()));
            }
        }
    }
    wrong
}

#[test]
fn every_download_has_a_digest() {
    let wrong: Vec<String> = files(is_script).iter().flat_map(|(name, text)| unpinned(name, text)).collect();
    assert!(wrong.is_empty(), "see docs/supply-chain.md for the allowed forms:\n{}", wrong.join("\n"));
}

#[test]
fn the_page_lists_every_script_that_downloads() {
    let page = std::fs::read_to_string(root().join("docs/supply-chain.md")).expect("the page is there");
    let mut absent = Vec::new();
    for (name, text) in files(is_script) {
        let downloads =
            commands(&text).iter().any(|(_, line)| forms_in(line).any(|form| !NOT_DOWNLOADS.contains(&form.command)));
        if downloads && !page.contains(&format!("`{name}`")) {
            absent.push(name);
        }
    }
    for (name, _) in files(is_lock) {
        if !page.contains(&format!("`{name}`")) {
            absent.push(name);
        }
    }
    assert!(absent.is_empty(), "docs/supply-chain.md does not name {absent:?}");
}

fn is_lock(name: &str) -> bool {
    let requirements = name.starts_with("requirements/") && name.ends_with(".txt");
    requirements || name.ends_with("Cargo.lock") || name.ends_with("package-lock.json")
}

fn is_digest(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Requirements that are not an exact version with SHA-256 digests.
fn wrong_requirements(name: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, line) in commands(text).into_iter().filter(|(_, line)| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let exact = words[0].split_once("==").is_some_and(|(name, version)| !name.is_empty() && !version.is_empty());
        let digests: Vec<&str> = words.iter().filter_map(|w| w.strip_prefix("--hash=sha256:")).collect();
        if !exact || digests.is_empty() || !digests.iter().all(|d| is_digest(d, 64)) || line.contains("://") {
            wrong.push(format!("{name}:{number}: {}", words[0]));
        }
    }
    wrong
}

/// Packages of a `package-lock.json` without a SHA-512 digest.
fn wrong_npm(name: &str, text: &str) -> Vec<String> {
    let lock: serde_json::Value = serde_json::from_str(text).expect("a lock file is JSON");
    let packages = lock["packages"].as_object().expect("a lock file of version 3 lists packages");
    let lacks = |package: &serde_json::Value| !package["integrity"].as_str().is_some_and(|i| i.starts_with("sha512-"));
    packages.iter().filter(|(at, p)| !at.is_empty() && lacks(p)).map(|(at, _)| format!("{name}: {at}")).collect()
}

/// Packages of a `Cargo.lock` from elsewhere than this tree without a SHA-256 digest: those of a git repository have none.
fn wrong_cargo(name: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in text.split("[[package]]").skip(1) {
        let value = |key: &str| {
            let line = package.lines().find_map(|l| l.strip_prefix(key));
            line.and_then(|l| l.strip_prefix(" = \"")).and_then(|l| l.strip_suffix('"'))
        };
        if value("source").is_some() && !value("checksum").is_some_and(|c| is_digest(c, 64)) {
            wrong.push(format!("{name}: {}", value("name").unwrap_or_default()));
        }
    }
    wrong
}

#[test]
fn every_lock_file_holds_digests() {
    let (mut wrong, mut kinds) = (Vec::new(), [0; 3]);
    for (name, text) in files(is_lock) {
        let kind = usize::from(name.ends_with(".json")) + 2 * usize::from(name.ends_with(".lock"));
        kinds[kind] += 1;
        wrong.extend([wrong_requirements, wrong_npm, wrong_cargo][kind](&name, &text));
    }
    assert!(wrong.is_empty(), "without a digest:\n{}", wrong.join("\n"));
    assert!(kinds.iter().all(|n| *n >= 2), "lock files of Python, npm and cargo: {kinds:?}");
}

#[test]
fn cargo_deny_checks_every_lock_file() {
    let script = std::fs::read_to_string(root().join("scripts/deny.sh")).expect("the script is there");
    let list = script.lines().find_map(|l| l.strip_prefix("for manifest in ")?.strip_suffix("; do"));
    let mut checked: Vec<String> =
        list.expect("a loop over manifests").split(' ').map(|m| m.replace("Cargo.toml", "Cargo.lock")).collect();
    checked.sort();
    let there: Vec<String> = files(|n| n.ends_with("Cargo.lock")).into_iter().map(|(name, _)| name).collect();
    assert_eq!(checked, there, "scripts/deny.sh checks the first, the tree holds the second");
}

/// torch-sys would download libtorch, without a digest.
#[test]
fn no_build_script_downloads_libtorch() {
    for (name, text) in files(|n| n.ends_with("Cargo.toml")) {
        assert!(!text.contains("download-libtorch"), "{name}");
    }
}

#[test]
fn a_download_without_a_digest_is_found() {
    let wrong = [
        "pip install torch==2.11.0",
        ".venv/bin/uv pip install -q --require-hashes -r requirements/locked.txt",
        "subprocess.run([\"npm\", \"install\", \"left-pad\"])",
        "cargo install --locked --version =1.0.0 mdbook",
        "cargo build \\\n  --release",
        "  curl -sSf example.org | sh",
        "uv build --wheel dags",
        "npx playwright install chromium",
        "git clone elsewhere folder",
    ];
    for text in wrong {
        assert!(!unpinned("a.sh", text).is_empty(), "{text}");
    }
    let right = [
        "# pip install torch",
        "uv pip install --only-binary :all: --require-hashes \\\n  -r requirements/locked.txt",
        "npm ci",
        "cargo build --locked",
        "curling and mycurl x, rewget y",
        "scripts/cargo_tool.sh cargo-deny",
    ];
    for text in right {
        assert_eq!(unpinned("a.sh", text), Vec::<String>::new());
    }
    let digest = "0".repeat(64);
    assert!(wrong_requirements("r.txt", &format!("a==1 \\\n    --hash=sha256:{digest}\n    # via b\n")).is_empty());
    for text in ["a==1", "a>=1 --hash=sha256:0", &format!("a --hash=sha256:{digest}"), "--index-url elsewhere"] {
        assert_eq!(wrong_requirements("r.txt", text).len(), 1, "{text}");
    }
    assert_eq!(wrong_npm("p.json", r#"{"packages": {"": {}, "node_modules/a": {"version": "1"}}}"#).len(), 1);
    assert_eq!(wrong_cargo("Cargo.lock", "[[package]]\nname = \"a\"\nsource = \"git+elsewhere#1\"\n").len(), 1);
    assert!(wrong_cargo("Cargo.lock", "[[package]]\nname = \"a\"\nversion = \"1\"\n").is_empty());
}
