"""How our blocks look in the Prefect UI."""

from pydantic import HttpUrl

LOGO_URL = HttpUrl(
    "https://codaio.imgix.net/docs/_s5lUnUCIU/blobs/bl-RgjcFrrJjj/d3cbc44f8584ecd42f2a97d981a144dce6a66d83ddd5864f723b"
    "7808c7d1dfbc25034f2f25e1b2188e78f78f37bcb79d3c34ca937cbb08ca8b3da1526c29da9a897ab38eb39d084fd715028b7cc60eb595c68ec"
    "fa6fa0bb125ec2b09da65664a4f172c2f"
)  # the one that the vendor's SDK shows on its package page
DOCUMENTATION_URL = HttpUrl("https://docs.videodb.io")
