"""A small repository like this one, whose commits change one thing each."""

import shutil
import subprocess
from pathlib import Path

from deploy.image import ROOT

FILES = {
    "README.md": "about",
    "docs/guide.md": "how",
    "wafer_assets/__init__.py": "",
    "wafer_assets/keys.py": "KEY = 1",
    "schemas/loader.py": "",
    "schemas/etch/line.yaml": "name: etch",
    "deploy/terraform/main.tf": "",
    "deploy/manifests/mlflow.yaml": "kind: Deployment",
    "deploy/ansible/site.yml": "[]",
    "tests/test_keys.py": "",
}


class Repository:
    """A Git repository in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        for name in ("deploy/Dockerfile", "deploy/Dockerfile.dockerignore"):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
        self.first = self.commit(**FILES)

    def commit(self, **files: str | None) -> str:
        """Write files, or delete those that are None, and return the commit."""
        for name, text in files.items():
            path = self.folder / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        self.git("add", "--all")
        self.git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "--allow-empty", "-m", "x")
        return self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()
