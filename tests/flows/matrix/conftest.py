"""What both matrices run on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.matrix.subjects import Matrix, Service, matrix_of, running_service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("videodb-matrix")) as running:
        yield running


@pytest.fixture
def matrix(service: Service, prefect_api: str, deployed: str, tmp_path: Path) -> Iterator[Matrix]:
    with matrix_of(service, prefect_api, deployed, tmp_path) as made:
        yield made
