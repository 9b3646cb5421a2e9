"""The words of the conversations: actions, and names of places.

A language model learns about a place as fast as its name is distinct, so each state of a tree has a name of its own.
"""

from __future__ import annotations

_TREE = (
    "red green blue one two three north south east apple fish bird iron glass stone sun moon star rain snow "
    "wind spring summer winter chair table door hand foot head shirt coat hat bread milk salt river lake sea "
    "white black gold four five six left right up"
)
_PLACES = (
    "Paris London Rome Berlin Madrid Vienna Athens Dublin Oslo Prague Warsaw Lisbon Moscow Budapest Brussels "
    "Amsterdam Copenhagen Stockholm Helsinki Geneva Zurich Munich Hamburg Milan Venice Florence Naples "
    "Barcelona Seville Valencia Porto Lyon Marseille Bordeaux Oxford Cambridge Manchester Liverpool Bristol "
    "Edinburgh Glasgow Cardiff Belfast York Boston Chicago Houston Dallas Denver Seattle Portland Phoenix "
    "Detroit Atlanta Miami Orlando Memphis Nashville Austin Philadelphia Pittsburgh Baltimore Cleveland "
    "Cincinnati Toronto Montreal Vancouver Ottawa Calgary Sydney Melbourne Brisbane Perth Adelaide Auckland "
    "Wellington Tokyo Osaka Kyoto Seoul Beijing Shanghai Taipei Bangkok Singapore Jakarta Manila Hanoi Delhi "
    "Mumbai Kolkata Chennai Karachi Lahore Dhaka Colombo Kabul Tehran Baghdad Damascus Beirut Jerusalem Cairo "
    "Tunis Algiers Casablanca Nairobi Lagos Accra Dakar Kampala Harare Johannesburg Durban Lima Bogota Quito "
    "Caracas Santiago Havana Kingston Mexico Brazil Chile Peru Cuba Canada Norway Sweden Finland Denmark "
    "Iceland Ireland Scotland Wales England France Germany Spain Portugal Italy Greece Turkey Egypt Libya "
    "Morocco Algeria Kenya Uganda Ghana Nigeria Ethiopia Sudan Angola Zambia Malawi Madagascar India China "
    "Japan Korea Vietnam Thailand Malaysia Indonesia Nepal Bhutan Pakistan Iran Iraq Syria Lebanon Israel "
    "Jordan Yemen Oman Qatar Kuwait Russia Poland Hungary Austria Switzerland Belgium Holland Romania Bulgaria "
    "Serbia Croatia Albania Estonia Latvia Lithuania Ukraine Texas Ohio Iowa Utah Alaska Hawaii"
)
WORDS = {"tree": tuple(_TREE.split()), "grid": ("up", "down", "left", "right")}
PLACES = tuple(_PLACES.split())


def place(number: int) -> str:
    """Name of a place: a town or a country, with a number if there are more places than names."""
    again, which = divmod(number, len(PLACES))
    return PLACES[which] + (f" {again + 1}" if again else "")
