"""The command `procession`: parse, plan, run, report.

    0  all done          1  some files failed          2  wrong use, nothing done          130  interrupted

A spawned worker imports this module again as its `__main__`, so typer, rich and the programs are imported in functions
only.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

if TYPE_CHECKING:
    import typer

SOME_FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file's name must not end the run on a narrow terminal
    try:
        build_app()(prog_name="procession")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def build_app() -> "typer.Typer":
    """The commands, each a thin layer over a function in `procession.apps`."""
    import typer

    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

    @app.callback()
    def procession() -> None:
        """Programs that use all the cores of this machine.

        Exit codes: 0 all done, 1 some files failed, 2 wrong use and nothing done, 130 interrupted.
        """

    @app.command()
    def images(
        source: Annotated[Path, typer.Argument(metavar="IN", help="Folder with images; its sub-folders are included.")],
        target: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the thumbnails, made if needed.")],
        size: Annotated[str, typer.Option(metavar="WxH", help="Fit inside this; nothing is enlarged.")] = "128x128",
        workers: Annotated[
            int | None, typer.Option(min=1, help="Processes; as many as usable cores if not given.")
        ] = None,
    ) -> None:
        """Make a thumbnail of every image under IN, with the same relative name under OUT.

        Proportions are kept and pictures are set upright. Existing thumbnails
        are replaced. A file that is no image, or is damaged, is listed with
        its reason at the end and does not stop the others. Hidden files and
        links to folders are left alone. A format that can only be read (PSD,
        for example) becomes NAME.psd.png.

        Example: procession images photos thumbnails --size 256x256
        """
        raise typer.Exit(run_images(source, target, size, workers))

    return app


def run_images(source: Path, target: Path, size: str, workers: int | None) -> int:
    """Run `procession images` and return the exit code."""
    try:
        from procession.apps import images
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "PIL":
            raise
        return complain("images needs Pillow: pip install 'procession[images]'")
    from procession.apps.driver import Interrupted, PlanError
    from procession.apps.report import print_summary, show_progress

    try:
        with show_progress("images") as progress:
            result = images.make_thumbnails(
                source, target, size=images.parse_size(size), workers=workers, progress=progress
            )
    except (PlanError, ValueError) as error:
        return complain(str(error))
    except Interrupted as interrupted:
        print_summary(interrupted.result, "images", is_interrupted=True)
        return INTERRUPTED
    if result.total == 0:
        print(f"no images in {source}")
        return 0
    print_summary(result, "images")
    return SOME_FAILED if result.failed else 0


def complain(message: str) -> int:
    print(f"procession: {message}", file=sys.stderr)
    return WRONG_USE


if __name__ == "__main__":
    main()
