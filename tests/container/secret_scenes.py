"""Scenes of settings and secrets: where they come from, who can read them, and what a wrong one does."""

from __future__ import annotations

import re
import time
from pathlib import Path

from tests.container.machine import CREDENTIALS, ENV_FILE, URL, Site, Unit, ctl, run

FIRST = Unit("penstock-worker@1", 9191)
SECRETS = ("penstock.toml", "penstock.aws")
ON_THE_HOST = (
    f"set -a; . {ENV_FILE}; PENSTOCK_CONFIG={CREDENTIALS}/penstock.toml "
    f"AWS_SHARED_CREDENTIALS_FILE={CREDENTIALS}/penstock.aws; exec /opt/penstock/bin/penstock "
)
"""How an operator runs a command with the settings of the services."""


def checks(site: Site) -> None:
    """Before anything is started: whether a worker could start, with the services' settings and secrets."""
    print("  " + run("sh", "-euc", ON_THE_HOST + "worker --check").strip())


def sandbox(site: Site) -> None:
    """A user of its own without rights, a read-only system, filtered system calls, secrets that only it can read."""
    pid = FIRST.pid
    status = Path(f"/proc/{pid}/status").read_text()
    facts = dict(re.findall(r"^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):\s+(\S+)", status, re.MULTILINE))
    print(f"  {facts}")
    assert int(facts.pop("Uid")) >= 61184, "a dynamic user"
    assert facts == {"CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}
    denied = run("nsenter", "--target", str(pid), "--mount", "touch", "/usr/x", check=False)
    print("  " + denied.strip())
    assert "Read-only file system" in denied
    directory = Path(f"/run/credentials/{FIRST.name}.service")
    print("  " + run("ls", "-ln", str(directory)).replace("\n", "\n  ").rstrip())
    assert run("setpriv", "--reuid=1", "--clear-groups", "cat", f"{directory}/penstock.toml", check=False).endswith(
        "Permission denied\n"
    )
    environ = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"of-redis" not in environ, "the password is in nobody's environment"


def wrong_setting(site: Site) -> None:
    """A wrong setting, or an instance that is no number: one start, one line that says why, and no more."""
    for name, wrong in ((FIRST.name, {"batch_max_items": 0}), ("penstock-worker@one", {})):
        site.settings(**wrong)
        unit, since = Unit(name, 0), time.time()
        print("  " + ctl("restart", name, check=False).splitlines()[0])
        unit.wait_until("failed")
        time.sleep(10)  # three times RestartSec=: that nothing happens can only be waited for
        print("  " + "\n  ".join(unit.journal(since, "^penstock|Failed|Scheduled")))
        print(f"  {name}: {unit.state()}, status {unit.show('ExecMainStatus')}, restarts {unit.restarts}")
        assert (unit.show("ActiveState"), unit.show("ExecMainStatus"), unit.restarts) == ("failed", "2", 0)
    site.settings()
    ctl("reset-failed", "penstock-worker@one")
    ctl("restart", FIRST.name)
    FIRST.wait_until_ready()


def without_secrets(site: Site) -> None:
    """Neither file of the credstore is needed: then settings come from the environment, credentials from elsewhere."""
    for name in SECRETS:
        (CREDENTIALS / name).rename(CREDENTIALS / f"{name}.away")
    site.settings(redis_url=URL)
    ctl("restart", FIRST.name)
    FIRST.wait_until_ready()
    for name in SECRETS:
        (CREDENTIALS / f"{name}.away").rename(CREDENTIALS / name)
    site.settings()
    ctl("restart", FIRST.name)


def encrypted_secrets(site: Site) -> None:
    """The same secrets encrypted, with a key of this machine's, and no plain file left."""
    encrypted = Path("/etc/credstore.encrypted")
    encrypted.mkdir(mode=0o700, exist_ok=True)
    override = Path("/run/systemd/system/penstock-worker@.service.d/encrypted.conf")
    override.parent.mkdir(parents=True, exist_ok=True)
    loads = "".join(f"LoadCredentialEncrypted={name}\n" for name in SECRETS)
    override.write_text(f"[Service]\nLoadCredential=\n{loads}")
    plain = {name: (CREDENTIALS / name).read_bytes() for name in SECRETS}
    for name in SECRETS:
        run("systemd-creds", "encrypt", f"--name={name}", str(CREDENTIALS / name), str(encrypted / name))
        (CREDENTIALS / name).unlink()
        assert b"of-redis" not in (encrypted / name).read_bytes()
    ctl("daemon-reload")
    ctl("restart", FIRST.name)
    FIRST.wait_until_ready()
    ctl("stop", "penstock-worker@2")  # so that it is this one that stores them
    site.put("encrypted/", 20)
    print("  " + site.check())
    ctl("start", "penstock-worker@2")
    for name in SECRETS:
        (CREDENTIALS / name).write_bytes(plain[name])
        (encrypted / name).unlink()  # newer systemds look there first, and LoadCredential= would not decrypt it
    override.unlink()
    ctl("daemon-reload")
    ctl("restart", FIRST.name)
    FIRST.wait_until_ready()
