"""Execute a notebook with the Python that runs this, whatever kernels are installed."""

import os
import sys
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient


class ThisPython(AsyncKernelManager):
    """A kernel manager that needs no kernelspec on the machine."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """A kernel of the running interpreter."""
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


def execute(path: str | Path, folder: str | Path, timeout: int = 600, **environment: str) -> nbformat.NotebookNode:
    """Run every cell and return the notebook with its outputs; the file stays as it is.

    Args:
        path: the notebook.
        folder: where it runs; files that it writes land there.
        timeout: seconds that one cell may take.
        environment: variables to set beside the present ones.

    Raises:
        CellExecutionError: a cell raised.
    """
    notebook = nbformat.read(path, as_version=4)
    manager = ThisPython()
    client = NotebookClient(
        notebook, km=manager, timeout=timeout, resources={"metadata": {"path": str(folder)}}, shutdown_kernel="graceful"
    )
    # The kernel ends with the notebook, also after a cell that raised. Two spinning OpenMP threads beside another process make small models ten times slower.
    client.execute(cleanup_kc=True, env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **environment})
    return notebook
