"""`python -m grafana.generate`: writes the dashboard's JSON from `panels`; with `--check` says whether it is stale.

The rule that holds here: the JSON is a function of the code alone, and nobody edits it by hand, in Grafana or
elsewhere.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.panels import ANNOTATIONS, ROWS, VARIABLES
from grafana.words import Annotation, Panel, Query, Variable

FILE: Final = Path(__file__).parent / "dashboards" / "ivrd.json"
SOURCE: Final = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
_LIMIT: Final = ".*limit"  # series of these names are limits, and drawn as such


def build() -> model.Dashboard:
    """The dashboard."""
    board = (
        dashboard.Dashboard("ivrd")
        .uid("ivrd")
        .description("Warm workers for Asterisk's ExternalIVR: calls, pools, runtime, security.")
        .tags(["ivrd", "asterisk", "telephony"])
        .timezone("browser")
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .time("now-3h", "now")
        .refresh("30s")
        .with_variable(
            dashboard.DatasourceVariable("datasource")
            .label("Data source")
            .description("The Prometheus that scrapes ivrd.")
            .type("prometheus")
        )
    )
    for variable in VARIABLES:
        board.with_variable(_variable(variable))
    for annotation in ANNOTATIONS:
        board.annotation(_MarkBuilder(annotation))
    number = 1
    for row in ROWS:
        board.with_row(dashboard.Row(row.title).id(number))
        number += 1
        for panel in row.panels:
            board.with_panel(_panel(panel).id(number))
            number += 1
    return board.build()


def render(board: model.Dashboard) -> str:
    """The dashboard as the file has it."""
    return json.dumps(json.loads(json.dumps(board, cls=JSONEncoder)), indent=1, sort_keys=True) + "\n"


def _variable(variable: Variable) -> dashboard.QueryVariable:
    everything = model.VariableOption(selected=True, text="All", value="$__all")
    return (
        dashboard.QueryVariable(variable.name)
        .label(variable.label)
        .description(variable.description)
        .query(variable.query)
        .datasource(SOURCE)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(everything)
    )


class _Mark(model.AnnotationQuery):
    """With what Grafana takes for marks from Prometheus and the SDK's model leaves out: text and resolution."""

    def __init__(self, annotation: Annotation) -> None:
        super().__init__(annotation.name, SOURCE, icon_color=annotation.colour, expr=annotation.expr)
        self._title = annotation.title

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), "titleFormat": self._title, "step": "60s"}


class _MarkBuilder(Builder[model.AnnotationQuery]):
    def __init__(self, annotation: Annotation) -> None:
        self._mark = _Mark(annotation)

    def build(self) -> model.AnnotationQuery:
        return self._mark


def _panel(panel: Panel) -> Any:
    """A panel's builder; those of the SDK have the same methods but no base with them."""
    builder: Any = {"graph": _graph, "stat": _stat, "heatmap": _heatmap}[panel.kind](panel)
    builder.title(panel.title).description(panel.description).datasource(SOURCE)
    builder.height(4 if panel.kind == "stat" and panel.width == 4 else 8).span(panel.width)
    builder.unit(panel.unit).thresholds(_thresholds(panel))
    for place, query in enumerate(panel.queries):
        builder.with_target(_target(panel, query, "ABCDEFG"[place]))
    return builder


def _target(panel: Panel, query: Query, letter: str) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(letter).datasource(SOURCE)
    if panel.kind == "heatmap":
        target.format(PromQueryFormat.HEATMAP)
    return target.instant() if panel.kind == "stat" else target.range()


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    colours = ("red", "yellow", "green") if panel.below else ("green", "yellow", "red")
    if len(panel.limits) == 1:
        colours = (colours[0], colours[2], "")
    steps = [model.Threshold(None, colours[0] if panel.limits else "green")]
    steps += [model.Threshold(value, colour) for value, colour in zip(panel.limits, colours[1:], strict=False)]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)


def _graph(panel: Panel) -> timeseries.Panel:
    style = looks.GraphTresholdsStyleMode.DASHED if panel.limits else looks.GraphTresholdsStyleMode.OFF
    builder = (
        timeseries.Panel()
        .min(0)
        .line_width(1)
        .fill_opacity(25 if panel.stacked else 8)
        .show_points(looks.VisibilityMode.NEVER)
        .thresholds_style(common.GraphThresholdsStyleConfig().mode(style))
        .tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING))
        .legend(
            common.VizLegendOptions()
            .display_mode(looks.LegendDisplayMode.TABLE)
            .placement(looks.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
    )
    if panel.stacked:
        builder.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL))
    if any(query.legend.endswith("limit") for query in panel.queries):
        dashes = {"fill": "dash", "dash": [6, 6]}
        builder.override_by_regexp(
            _LIMIT,
            [
                model.DynamicConfigValue("custom.lineStyle", dashes),
                model.DynamicConfigValue("custom.fillOpacity", 0),
            ],
        )
    return builder


def _stat(panel: Panel) -> stat.Panel:
    return (
        stat.Panel()
        .graph_mode(looks.BigValueGraphMode.NONE)
        .color_mode(looks.BigValueColorMode.VALUE if panel.limits else looks.BigValueColorMode.NONE)
        .text_mode(looks.BigValueTextMode.VALUE_AND_NAME if panel.title == "Release" else looks.BigValueTextMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .no_value("-")
    )


def _heatmap(panel: Panel) -> heatmap.Panel:
    return (
        heatmap.Panel()
        .calculate(False)
        .color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64).fill("orange"))
        .rows_frame(heatmap.RowsHeatmapOptions().layout(looks.HeatmapCellLayout.AUTO))
        .y_axis(heatmap.YAxisConfig().unit(panel.unit).axis_placement(looks.AxisPlacement.LEFT))
        .cell_gap(1)
        .show_legend()
        .show_tooltip()
    )


def main(arguments: list[str]) -> int:
    text = render(build())
    if FILE.exists() and FILE.read_text() == text:
        return 0
    if arguments == ["--check"]:
        print(f"{FILE} is out of date: run python -m grafana.generate", file=sys.stderr)
        return 1
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text)
    print(f"wrote {FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
