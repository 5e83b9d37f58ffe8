"""Payloads and messages, to bytes and back."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import math
import uuid
from typing import Annotated, Any, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pwf_runtime import codec
from pwf_runtime.core.model import Marker, Message
from pwf_runtime.errors import DataError, DecodeError


@dataclasses.dataclass
class Address:
    street: str
    number: int = 0


class User(msgspec.Struct):
    name: str
    addresses: list[Address] = []


class Order(TypedDict):
    id: int
    lines: list[str]


class Colour(enum.Enum):
    RED = "red"


class Model:
    """Behaves as a pydantic model does, as far as the codec can tell."""

    def __init__(self, age: object) -> None:
        self.age = age

    __annotations__ = {"age": "object"}

    def model_dump(self) -> dict[str, object]:
        return {"age": self.age}

    @classmethod
    def model_validate(cls, plain: Any) -> Model:
        if not isinstance(plain["age"], int):
            raise ValueError("age is no number")
        return cls(plain["age"])


scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(-(2**63), 2**63), inner),
    max_leaves=20,
)


class TestPayloads:
    @given(values)
    def test_what_msgpack_can_say_comes_back_as_it_went(self, value: object) -> None:
        assert codec.decode(codec.encode(value)) == value

    def test_nan_comes_back_too(self) -> None:
        assert math.isnan(codec.decode(codec.encode(math.nan)))

    @pytest.mark.parametrize(
        ("value", "plain"),
        [
            ((1, (2,)), [1, [2]]),
            ({3}, [3]),
            (dt.date(2024, 2, 29), "2024-02-29"),
            (dt.datetime(2024, 2, 29, 1, 2), "2024-02-29T01:02:00"),
            (dt.datetime(2024, 2, 29, tzinfo=dt.UTC), dt.datetime(2024, 2, 29, tzinfo=dt.UTC)),
            (dt.timedelta(seconds=90), "PT90S"),
            (decimal.Decimal("1.10"), "1.10"),
            (uuid.UUID(int=3), "00000000-0000-0000-0000-000000000003"),
            (Colour.RED, "red"),
            (User("Ada", [Address("Main St", 3)]), {"name": "Ada", "addresses": [{"street": "Main St", "number": 3}]}),
            (Model(36), {"age": 36}),
            ({"deep": [Model(36)]}, {"deep": [{"age": 36}]}),
        ],
    )
    def test_richer_types_become_plain_without_an_annotation(self, value: object, plain: object) -> None:
        assert codec.decode(codec.encode(value)) == plain

    @pytest.mark.parametrize(
        ("type", "value"),
        [
            (User, User("Ada", [Address("Main St", 3)])),
            (Address, Address("Main St")),
            (list[int], [1, 2]),
            (tuple[int, str], (1, "a")),
            (set[int], {1, 2}),
            (dict[str, Address], {"home": Address("x")}),
            (Order, {"id": 1, "lines": ["a"]}),
            (dt.timedelta, dt.timedelta(seconds=90)),
            (dt.datetime, dt.datetime(2024, 2, 29, 1, 2)),
            (decimal.Decimal, decimal.Decimal("1.10")),
            (Colour, Colour.RED),
            (Annotated[int, msgspec.Meta(ge=0)], 3),
            (User | None, None),
        ],
    )
    def test_an_annotation_gives_back_what_it_was(self, type: Any, value: object) -> None:
        assert codec.decode(codec.encode(value), type) == value

    def test_models_are_validated_wherever_they_stand(self) -> None:
        body = codec.encode([{"age": 36}])
        (model,) = codec.decode(body, list[Model])
        assert isinstance(model, Model)
        assert model.age == 36

    def test_real_pydantic_models(self) -> None:
        pydantic = pytest.importorskip("pydantic")
        person: Any = pydantic.create_model("Person", name=(str, ...), born=(dt.date, ...))
        ada = person(name="Ada", born=dt.date(1815, 12, 10))
        assert codec.decode(codec.encode({"who": [ada]}), dict[str, list[person]]) == {"who": [ada]}
        with pytest.raises(DataError, match=r"(?s)born.*at `\$\[0\]`"):
            codec.decode(codec.encode([{"name": "Ada"}]), list[person])

    def test_decoders_are_kept(self) -> None:
        assert codec.decoder(User) is codec.decoder(User)

    def test_a_type_that_cannot_be_hashed_still_decodes(self) -> None:
        unhashable = Annotated[int, msgspec.Meta(extra_json_schema={"a": [1]})]
        assert codec.decode(codec.encode(3), unhashable) == 3


class TestPayloadErrors:
    @pytest.mark.parametrize(
        ("value", "path", "culprit"),
        [
            (1j, "data: 1j (complex)", "a payload may hold None, bool"),
            ({"when": 1j}, "data['when']: 1j (complex)", "pydantic models"),
            ({"a": [0, {"b": object}]}, "data['a'][1]['b']: <class 'object'> (type)", "a payload may hold"),
            ((1, {2j}), "data[1]'s member: 2j", "a payload may hold"),
            ({1j: 1}, "data's key 1j: 1j", "a payload may hold"),
            (Address(print), "data.street: <built-in function print>", "a payload may hold"),  # type: ignore[arg-type]
            (User("x", [1j]), "data.addresses[0]: 1j", "a payload may hold"),  # type: ignore[list-item]
            (Model(1j), "data.age: 1j", "a payload may hold"),
            ({"n": 2**64}, "data['n']: 18446744073709551616 (int)", "can't serialize ints"),
            (["\ud800"], "data[0]: '\\ud800' (str)", "surrogates not allowed"),
            (Model, "data: <class", "a payload may hold"),
        ],
    )
    def test_an_unsendable_value_is_shown_with_its_path(self, value: object, path: str, culprit: str) -> None:
        with pytest.raises(DataError) as caught:
            codec.encode(value, "data")
        assert path in str(caught.value)
        assert "cannot be sent" in str(caught.value)
        assert culprit in str(caught.value)

    def test_a_value_that_holds_itself(self) -> None:
        value: list[object] = []
        value.append(value)
        with pytest.raises(DataError, match=r"^data\[0\]\[0\].* nested too deep, or holds itself"):
            codec.encode(value, "data")

    def test_a_repr_that_fails_does_not_hide_the_error(self) -> None:
        class Broken:
            def __repr__(self) -> str:
                raise RuntimeError

        with pytest.raises(DataError, match=r"<Broken whose repr\(\) fails>"):
            codec.encode(Broken())

    def test_wrong_shape_names_path_and_shape(self) -> None:
        body = codec.encode({"name": "Ada", "addresses": [{"street": 3}]})
        with pytest.raises(DataError) as caught:
            codec.decode(body, User)
        assert "Expected `str`, got `int` - at `$.addresses[0].street`" in str(caught.value)
        assert "wanted User(name: str, addresses: list[Address])" in str(caught.value)

    def test_a_model_that_refuses_names_the_path(self) -> None:
        with pytest.raises(DataError, match=r"age is no number - at `\$\[0\]`; wanted list\["):
            codec.decode(codec.encode([{"age": "x"}]), list[Model])

    def test_a_class_that_no_payload_can_become(self) -> None:
        class Plain: ...

        with pytest.raises(DataError, match=r"cannot be made into a Plain: annotate with a dataclass"):
            codec.decode(codec.encode(1), Plain)

    def test_a_type_that_msgspec_refuses(self) -> None:
        with pytest.raises(DataError, match=r"no payload can be a .*User \| .*Address: .*more than one dict-like"):
            codec.decode(codec.encode(1), User | Address)

    @pytest.mark.parametrize("body", [b"", b"\xc1", b"\x01\x02", b"\xa1\xff", b"\x91" * 100_000])
    def test_garbage_keeps_its_bytes(self, body: bytes) -> None:
        with pytest.raises(DecodeError, match=f"these {len(body)} bytes are no payload") as caught:
            codec.decode(body)
        assert caught.value.body == body

    @given(st.binary())
    def test_no_bytes_raise_anything_else(self, body: bytes) -> None:
        with contextlib.suppress(DecodeError):
            codec.decode(body)


names = st.text(min_size=1, max_size=30)


class TestMessages:
    @given(st.builds(Message, names, names, names) | st.builds(Marker, names, st.integers(0, 2**53)))
    def test_round_trip(self, message: Message | Marker) -> None:
        assert codec.decode_message(codec.encode_message(message)) == message

    def test_the_bytes_are_fixed(self) -> None:
        """Workers of two releases meet in one queue: this format changes only together with VERSION."""
        assert codec.encode_message(Message("r", "c", "users.t")) == b'[1,["call","r","c","users.t"]]'
        assert codec.encode_message(Marker("users", 5)) == b'[1,["marker","users",5]]'

    def test_unknown_elements_behind_are_skipped(self) -> None:
        body = b'[1,["call","r","c","q.t","more"],{"traceparent":"00-1"},7]'
        assert codec.decode_message(body) == Message("r", "c", "q.t")

    @pytest.mark.parametrize("body", [b"[7]", b'[7,["call","r","c","q.t"]]', b'[7,{"all":"new"}]'])
    def test_a_newer_version_is_told_from_garbage(self, body: bytes) -> None:
        with pytest.raises(codec.NewerVersion) as caught:
            codec.decode_message(body)
        assert str(caught.value) == "version 7, this worker reads up to 1: parked until a newer worker takes it"
        assert (caught.value.version, caught.value.body) == (7, body)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"\xff\xfe",
            b"{}",
            b"[]",
            b"[1]",
            b"[true]",
            b'["1"]',
            b'[0,["call","r","c","q.t"]]',
            b'[1,["nothing"]]',
            b'[1,["call","r"]]',
            b"[" * 100_000,
            b'[2,["\xff"]]',
        ],
    )
    def test_garbage_keeps_its_bytes(self, body: bytes) -> None:
        with pytest.raises(DecodeError, match=f"these {len(body)} bytes are no message: .*begin with") as caught:
            codec.decode_message(body)
        assert not isinstance(caught.value, codec.NewerVersion)
        assert caught.value.body == body

    @given(st.binary() | values.map(msgspec.msgpack.encode))
    def test_no_bytes_raise_anything_else(self, body: bytes) -> None:
        with contextlib.suppress(DecodeError):
            codec.decode_message(body)
