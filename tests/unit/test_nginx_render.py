"""The edge's configuration as text: what goes in, what is kept out, and what must stand in it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.ports import Route
from nginx.render import (
    PAGES,
    EdgeOptions,
    checked_options,
    parse_routes,
    render_config,
    render_pages,
    render_routes,
    routing_table,
)

OPTIONS = EdgeOptions(root=Path("/srv/yard"), domain="apps.example.com", http_port=8080, engine_port=3000)
DIARY = Route("mina-diary", "10.7.0.2:3000")


def rendered(**changes: Any) -> str:
    options = replace(OPTIONS, **changes)
    return render_config(options, worker_user="", routes=options.routes, pid_file=options.pid_file)


def location(text: str, name: str) -> str:
    """The first location of that name, from its opening to the brace in its own column."""
    start = text.index(f"location {name} {{")
    return text[start : text.index("\n        }\n", start)]


class TestRoutes:
    def test_the_map_is_exactly_this(self) -> None:
        table = {"mina-diary": "10.7.0.2:3000", "joon-my-shop2": "10.7.0.3:8000"}
        assert render_routes(table, "g7") == (
            '"#generation" g7;\nmina-diary 10.7.0.2:3000;\njoon-my-shop2 10.7.0.3:8000;\n'
        )

    def test_an_empty_map_has_its_generation(self) -> None:
        assert render_routes({}, "g7") == '"#generation" g7;\n'

    def test_what_was_rendered_is_read_back(self) -> None:
        table = {"mina-diary": "10.7.0.2:3000", "joon-my-shop2": "10.7.0.3:8000"}
        assert parse_routes(render_routes(table, "g7")) == table

    def test_what_is_no_route_is_passed_over(self) -> None:
        assert parse_routes("include /etc/passwd;\nmina-diary 10.7.0.2:3000;\nmina-") == {
            "mina-diary": "10.7.0.2:3000"
        }

    def test_a_route_twice_is_one(self) -> None:
        assert routing_table([DIARY, DIARY]) == {"mina-diary": "10.7.0.2:3000"}

    def test_two_addresses_of_one_label_are_refused(self) -> None:
        with pytest.raises(ValueError, match="two addresses: mina-diary"):
            routing_table([DIARY, Route("mina-diary", "10.7.0.3:3000")])

    @pytest.mark.parametrize(
        "label",
        ["", "a-b", "mina", "mina_diary", "Mina-diary", "-mina-diary", "mina-diary\n", "mina-diary x", "minä-diary",
         "a" * 21 + "-diary", "mina-" + "d" * 31, "1ina-diary", "mina-diary.evil", '"#generation"', "default"],
    )  # fmt: skip
    def test_a_bad_label_is_refused(self, label: str) -> None:
        with pytest.raises(ValueError, match="label"):
            routing_table([Route(label, "10.7.0.2:3000")])

    @pytest.mark.parametrize(
        "address",
        ["", "10.7.0.2", "10.7.0.2:", "10.7.0.2:0", "10.7.0.2:65536", "10.7.0.256:80", "10.7.0:80", "010.7.0.2:80",
         "host:80", "10.7.0.2:80\n", "10.7.0.2:80;", "10.7.0.2:80/x", "10.7.0.2:٣", "madang_engine"],
    )  # fmt: skip
    def test_a_bad_address_is_refused(self, address: str) -> None:
        with pytest.raises(ValueError, match="address"):
            routing_table([Route("mina-diary", address)])

    def test_what_is_known_passes_and_what_changed_is_checked(self) -> None:
        known = {"mina-diary": "10.7.0.2:3000"}
        assert routing_table([DIARY], known=known) == known
        with pytest.raises(ValueError, match="address"):
            routing_table([Route("mina-diary", "nowhere")], known=known)


class TestOptions:
    @pytest.mark.parametrize(
        "changes",
        [
            {"root": Path("relative")},
            {"root": Path('/a"b')},
            {"root": Path("/a$b")},
            {"root": Path("/a\nb")},
            {"root": Path("/a\\b")},
            {"domain": "a;b"},
            {"domain": "UPPER.example"},
            {"domain": "a..b"},
            {"domain": ""},
            {"domain": "a.b\n"},
            {"http_port": 0},
            {"engine_port": 65536},
            {"bind": "localhost"},
            {"bind": "127.0.0.1; x"},
            {"trusted_proxies": ("10.0.0.0/33",)},
            {"trusted_proxies": ("proxy",)},
            {"workers": 0},
        ],
    )
    def test_what_cannot_stand_in_a_configuration_is_refused(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r".+"):
            checked_options(replace(OPTIONS, **changes))
        with pytest.raises(ValueError, match=r".+"):
            rendered(**changes)

    def test_a_bad_user_is_refused(self) -> None:
        with pytest.raises(ValueError, match="worker_user"):
            render_config(OPTIONS, worker_user="a;b", routes=OPTIONS.routes, pid_file=OPTIONS.pid_file)

    @pytest.mark.parametrize(
        ("bind", "reach"),
        [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.1.2.3", "10.1.2.3"), ("127.0.0.1", "127.0.0.1")],
    )
    def test_the_machine_reaches_itself(self, bind: str, reach: str) -> None:
        assert replace(OPTIONS, bind=bind).reach == (reach, 8080)

    def test_everything_lies_in_one_folder(self) -> None:
        assert {
            path.is_relative_to("/srv/yard/nginx") for path in (OPTIONS.conf, OPTIONS.routes, OPTIONS.logs)
        }


class TestConfig:
    def test_every_path_lies_in_the_installations_folder(self) -> None:
        paths = re.findall(r'"(/[^"]*)"', rendered())
        assert len(paths) > 10
        assert [path for path in paths if not path.startswith("/srv/yard/nginx/")] == []

    def test_nothing_of_the_distribution_is_read(self) -> None:
        assert re.findall(r"\b(?:include|load_module) (.*);", rendered()) == ['"/srv/yard/nginx/routes.map"']
        assert "/etc/" not in rendered()

    def test_a_candidate_differs_in_its_own_files_only(self) -> None:
        candidate = render_config(
            OPTIONS,
            worker_user="",
            routes=Path("/srv/yard/nginx/c.map"),
            pid_file=Path("/srv/yard/nginx/c.pid"),
        )
        assert candidate.replace("c.map", "routes.map").replace("c.pid", "nginx.pid") == rendered()

    def test_the_domain_is_taken_literally(self) -> None:
        assert r'server_name "~^(?<madang_label>[a-z0-9-]{1,63})\.apps\.example\.com$";' in rendered()
        assert 'server_name "my-yard.example";' in rendered(domain="my-yard.example")
        assert r"\.my-yard\.example$" in rendered(domain="my-yard.example")

    def test_workers_change_their_user_only_where_told(self) -> None:
        assert "\nuser " not in rendered()
        told = render_config(
            OPTIONS, worker_user="www-data www-data", routes=OPTIONS.routes, pid_file=OPTIONS.pid_file
        )
        assert "\nuser www-data www-data;\n" in told

    def test_ipv6_stands_in_brackets(self) -> None:
        assert "listen [::1]:8080;" in rendered(bind="::1")
        assert "allow ::1;" in rendered(bind="::1")

    def test_proxies_are_believed_only_where_named(self) -> None:
        assert "real_ip" not in rendered()
        assert "$http_x_forwarded_proto" not in rendered()
        trusting = rendered(trusted_proxies=("10.0.0.1/8", "::1"))
        assert "set_real_ip_from 10.0.0.0/8;" in trusting
        assert "set_real_ip_from ::1/128;" in trusting
        assert "X-Forwarded-Proto $madang_proto;" in trusting
        assert "X-Forwarded-Proto $scheme;" not in trusting

    def test_every_server_keeps_the_back_room_shut(self) -> None:
        text = rendered()
        assert text.count("location ^~ /-/ {") == text.count("server_name ") - 1  # all but the generation's

    def test_whoever_proxies_to_an_app_ignores_its_steering(self) -> None:
        text = rendered()
        for name in ("/", "@direct"):
            found = location(text[text.index("# Every app.") :], name)
            assert "proxy_pass http://$madang_" in found
            assert "proxy_ignore_headers X-Accel-Redirect X-Accel-Expires" in found
            assert "proxy_next_upstream off;" in found

    def test_only_a_first_question_may_be_answered_by_a_hand_over(self) -> None:
        text = rendered()
        for name, may in (("@unrouted", "yes"), ("@unreachable", "yes"), ("@stranded", "no")):
            found = location(text, name)
            assert f"X-Madang-Handover {may};" in found
            assert ("proxy_ignore_headers X-Accel-Redirect" in found) is (may == "no")
            assert "proxy_pass_request_headers off;" in found
            assert "proxy_pass_request_body off;" in found

    def test_no_log_format_holds_a_query_a_cookie_or_a_referrer(self) -> None:
        log_format = re.search(r"log_format madang.*?;", rendered(), re.DOTALL)
        assert log_format
        for variable in ("$request ", "$request_uri", "$args", "$query_string", "$http_", "$cookie_"):
            assert variable not in log_format[0]


class TestPages:
    def test_every_page_is_there_and_needs_nothing_else(self) -> None:
        pages = render_pages()
        assert tuple(pages) == PAGES
        for text in pages.values():
            assert "src=" not in text
            assert "href=" not in text

    def test_pages_speak_both_languages(self) -> None:
        for name, text in render_pages().items():
            if name.endswith(".html"):
                assert re.search("[가-힣]", text)
                assert 'lang="en"' in text
