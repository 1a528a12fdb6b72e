import pytest

from normalize import Family, family, fold, is_plain
from normalize.members import EXEMPT, FAMILIES, HASHED, match

EXPECTED = {
    Family.EMAIL: "email emails mail emailaddress emailaddresses useremail customeremail contactemail billingemail "
    "primaryemail workemail",
    Family.PHONE: "phone phones phonenumber phonenumbers userphone customerphone contactphone billingphone homephone "
    "workphone mobile mobilenumber mobilephone cell cellphone msisdn tel telephone telephonenumber",
    Family.ADDRESS: "ip ips ipaddress ipaddr ipv4 ipv6 clientip clientipaddress userip useripaddress remoteip "
    "remoteaddr remoteaddress sourceip srcip deviceip lastip localip publicip xforwardedfor xrealip cfconnectingip "
    "trueclientip forwarded",
    Family.ADVERTISING: "idfa idfv gaid aaid adid gpsadid madid ifa rdid advertisingid advertisingidentifier "
    "googleadvertisingid androidadvertisingid",
    Family.HARDWARE: "imei imsi meid macaddress wifimac androidid serialnumber deviceserial udid hardwareid",
}
NAMES = [(kind, name) for kind, names in EXPECTED.items() for name in names.split()]


def test_the_lists_are_closed() -> None:
    """The lists are those of the version that `SCHEME` names, no name more or less."""
    assert {kind: set(names.split()) for kind, names in EXPECTED.items()} == FAMILIES
    assert {"user_id", "app_user_id", "revenuecat_original_app_user_id"} == EXEMPT


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_every_name_matches_in_every_spelling(kind: Family, name: str) -> None:
    """Case, underscores, dashes, dollar signs and white space make no difference."""
    spellings = [name, name.upper(), f"${name}", "_".join(name), f" {name[0]}- {name[1:]}\u00a0"]
    assert {family(spelling) for spelling in spellings} == {kind}
    assert not any(is_plain(spelling) for spelling in spellings)


@pytest.mark.parametrize("name", ["", "emailed", "phone_model", "ipad", "telemetry", "user", "device_id", "id"])
def test_other_names_belong_to_no_family(name: str) -> None:
    """Only whole names count."""
    assert family(name) is None


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("user.email", "email"),
        ("user[email]", "email"),
        ("traits[phone][]", "phone"),
        ("email.0", "email"),
        ("device.ids[IDFA].value", "IDFA"),
        ("ip.email", "ip"),
    ],
)
def test_the_first_part_in_a_family_decides(name: str, part: str) -> None:
    """Names with dots and brackets are looked at part by part."""
    member = match(name)
    assert member is not None
    assert name[member.start : member.end] == part


def test_members_that_hold_digests_are_of_the_family() -> None:
    """The names for digests, folded alike, belong to e-mail and phone."""
    assert {family(name) for name in HASHED} == {Family.EMAIL, Family.PHONE}
    assert family("Email-Hash") is Family.EMAIL


def test_folding() -> None:
    """Folding leaves out what people put between words."""
    assert fold(" $E-mail_Address\t") == "emailaddress"


@pytest.mark.parametrize("name", ["event", "app_version", "$lib", "first name", "x" * 64, "", "decade1"])
def test_plain_names(name: str) -> None:
    """Ordinary names are plain."""
    assert is_plain(name)


@pytest.mark.parametrize(
    "name",
    ["x" * 65, "a.b", "a@b", "a%40b", "a=b", "+49", "naïve", "12345678", "6D92078A-8246", "a[b]"],
)
def test_names_that_need_a_look_are_not_plain(name: str) -> None:
    """What is long, has parts, other characters or a run that could be an id is looked at."""
    assert not is_plain(name)
