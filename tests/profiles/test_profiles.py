import subprocess
import sys

import profiles


def test_every_exported_name_exists() -> None:
    assert profiles.__all__ == sorted(profiles.__all__)
    for name in profiles.__all__:
        assert getattr(profiles, name) is not None


def test_a_device_needs_no_yaml() -> None:
    # The device install has no PyYAML; neither may the meters need it.
    code = "import profiles, profiles.meters, sys; print(sorted({'yaml', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_yaml_a_site_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['yaml'] = None\n"
        "import profiles\n"
        "try:\n    profiles.read_site('site.yaml')\n"
        "except ModuleNotFoundError as reason:\n    print(reason)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'placer-joules[planner]'" in done.stdout
