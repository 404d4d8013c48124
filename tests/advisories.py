"""`make audit`: known advisories for what is installed, against those that SECURITY.md explains."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

EXPLAINED = Path(__file__).parent.parent / "SECURITY.md"
SERVICES = ("pypi", "osv")
IDENTIFIER = re.compile(r"\b(?:PYSEC-\d+-\d+|CVE-\d+-\d+|GHSA(?:-[0-9a-z]{4}){3})\b")


def audited() -> list[dict[str, Any]]:
    """What pip-audit says of each installed package, from the first service that knows about any."""
    for service in SERVICES:
        command = [
            sys.executable,
            "-m",
            "pip_audit",
            "--format",
            "json",
            "--progress-spinner",
            "off",
            "--timeout",
            "10",
        ]
        told = subprocess.run([*command, "--vulnerability-service", service], capture_output=True, text=True).stdout
        packages = json.loads(told)["dependencies"] if told.startswith("{") else []
        if any("vulns" in package for package in packages):
            return packages
    return []


def unexplained(packages: list[dict[str, Any]], explained: set[str]) -> list[str]:
    """A line for each advisory that none of its names is explained by."""
    return [
        f"{package['name']} {package['version']}: {fault['id']} ({', '.join(fault['aliases'])}), mended in "
        f"{', '.join(fault['fix_versions']) or 'no version'}"
        for package in packages
        for fault in package.get("vulns", [])
        if not {fault["id"], *fault["aliases"]} & explained
    ]


def main() -> int:
    """Exit status: 1 for an advisory that nobody has explained."""
    packages = audited()
    asked = [package for package in packages if "vulns" in package]
    if not asked:
        print("NOT CHECKED for known advisories: neither PyPI's nor OSV's service can be reached from here.")
        return 0
    found = unexplained(packages, set(IDENTIFIER.findall(EXPLAINED.read_text())))
    print("\n".join(found) or "No advisory that SECURITY.md does not explain.")
    print(f"{len(asked)} packages were checked, {len(packages) - len(asked)} are unknown to the service.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
