"""What is printed steers no terminal."""

import io

import pytest
from photos import draw
from rich.table import Table

from nnexp.cli.app import main
from nnexp.console import Console, as_csv_cell, printable, say, say_error, write

NASTY = "a\x1b]0;title\x07b\x1b]52;c;cGF5\x1b\\c\x9b31md\x7f\r\x08\u202ee\u2066f\u200fg\x1b[2J"
STEERING = {*map(chr, range(32)), *map(chr, range(0x7F, 0xA0)), *"\u202e\u2066\u200f"} - {
    "\n",
    "\t",
}


def test_every_control_character_goes_and_all_else_stays():
    kept = "Größe 模型 γ×β \U0001f600\tone\nnext"
    everything = "".join(map(chr, range(0x2100)))
    assert printable(kept) == kept
    assert not STEERING & set(printable(everything))
    assert set(everything) - set(printable(everything)) <= {
        *STEERING,
        *map(chr, range(0x202A, 0x202F)),
        *map(chr, range(0x2066, 0x206A)),
        "\u061c",
        "\u200e",
    }


def test_byte_that_is_no_text_can_be_printed():
    printable(b"run-\xff".decode("utf-8", "surrogateescape")).encode("utf-8")


@pytest.mark.parametrize("terminal", [False, True])
def test_table_and_line_are_cleaned_on_their_way_to_the_terminal(terminal):
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=200, color_system=None)
    table = Table("name", NASTY)
    table.add_row(NASTY, "b")
    console.print(table)
    console.print(NASTY, markup=False)
    assert file.getvalue().count("31mdefg") == 3
    assert not STEERING & set(file.getvalue())


def test_messages_and_plain_text_are_cleaned(capsys):
    write(NASTY)
    say(NASTY)
    say_error(NASTY, NASTY)
    out, err = capsys.readouterr()
    assert not STEERING & set(out + err)
    assert (out.count("abc31mdefg"), err.count("abc31mdefg")) == (1, 3)


@pytest.mark.parametrize(
    "cell", ["-0.5", "+3", "-1e-05", -2, 0.5, "", None, "batch", "1-2", "-inf"]
)
def test_numbers_and_usual_words_are_not_escaped(cell):
    assert as_csv_cell(cell) == cell


def test_names_of_folders_of_pictures_are_neither_markup_nor_escape_sequences(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for split, name in ((s, n) for s in ("train", "test") for n in ("[red]ant", "\x1b[31mbee")):
        for number in range(4):
            draw(tmp_path / "photos[bold]" / split / name / f"{number}.png", number)
    with pytest.raises(SystemExit) as end:
        main(["data", "data=folder", 'data.root="photos[bold]"', "data.val_images=2"])
    out, err = capsys.readouterr()
    assert end.value.code == 0, err
    assert "[red]ant" in out
    assert "\x1b" not in out + err
