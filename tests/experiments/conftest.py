import pytest

from duonet import data
from duonet.data import catalogue
from duonet.experiments.recipes import COMPARED


@pytest.fixture(scope="package", autouse=True)
def few_images():
    """Score few of the packaged images, and unpack them once: runs here are many, and none is about accuracy."""
    whole = data.fashion_mini()
    few = whole._replace(validation=whole.validation.take(210), test=whole.test.take(510))
    for part in (few.train, few.validation, few.test):
        part.images.flags.writeable = part.labels.flags.writeable = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "fashion_mini", lambda: few)
        for recipe in COMPARED.values():
            patch.setitem(recipe, "validation_images", 210)
        yield
