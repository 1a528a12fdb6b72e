"""Laws of the click relay: whatever a link carries, it leads to the app's own place."""

from urllib.parse import parse_qsl, quote_plus, urlsplit

from hypothesis import example, given
from hypothesis import strategies as st

from ingest.pipeline.click import PARAMETERS, Target, choose, location, parameters_of
from ingest.registry.model import App

URLS = {
    Target.IOS: "https://apps.example/app/id1?mt=8",
    Target.ANDROID: "https://play.example/store/details?id=a.b",
    Target.WEB: "https://shop.example/start#top",
}
APP = App(
    id="app_a",
    project_id="p",
    organization_id="o",
    store_url_ios=URLS[Target.IOS],
    store_url_android=URLS[Target.ANDROID],
    web_url=URLS[Target.WEB],
)
QUERIES = st.binary(max_size=200) | st.lists(
    st.tuples(st.sampled_from([*PARAMETERS, "url", "redirect", "referrer", "next"]), st.binary(max_size=40)), max_size=8
).map(lambda pairs: b"&".join(name.encode() + b"=" + quote_plus(value).encode() for name, value in pairs))


@given(query=QUERIES, system=st.none() | st.sampled_from(["iOS", "Android", "Windows"]) | st.text(max_size=10))
@example(query=b"utm_source=%0d%0aLocation:%20https://evil.example", system="Android")
@example(query=b"utm_source=%23@evil.example/%5c%5cevil&referrer=x", system="Android")
def test_a_click_leads_to_the_apps_own_place(query: bytes, system: str | None) -> None:
    """Scheme, host, path, fragment and the app's own parameters are the app's; the header is printable ASCII."""
    chosen = choose(APP, system)
    assert chosen is not None
    told = location(*chosen, parameters_of(query))
    own, led = urlsplit(URLS[chosen[0]]), urlsplit(told)

    assert told.isascii()
    assert told.isprintable()
    assert " " not in told
    assert "\\" not in told
    assert (led.scheme, led.netloc, led.path, led.fragment) == (own.scheme, own.netloc, own.path, own.fragment)
    assert [pair for pair in parse_qsl(led.query) if pair[0] != "referrer"] == parse_qsl(own.query)


@given(query=QUERIES)
def test_the_store_hands_over_what_the_link_said(query: bytes) -> None:
    """As long as it fits, and in the same order: an app reads its campaign from the referrer as from the link."""
    parameters = parameters_of(query)
    told = location(Target.ANDROID, URLS[Target.ANDROID], parameters)
    referrer = dict(parse_qsl(urlsplit(told).query)).get("referrer", "")
    read = parse_qsl(referrer)

    assert read == list(parameters.items())[: len(read)]
    assert len(read) == len(parameters) or len(told) > 1_000
