"""What a captioning run is asked to do: every number of it, in one place.

A YAML file (`--config FILE`) or `section.key=value` on the command line changes single fields. All sections but
`run` decide what the rows are: they are written into the dataset, and another value refuses to go on there.
"""

from typing import Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from ..configs.schema import Section
from .addresses import opens_by_itself


class IngestSettings(Section):
    """Which files are taken, and how long one may keep us."""

    # A decoder has for a file, and 1 s for each 10 MB; then it is killed, and the next run tries again. Another
    # value is taken at any time, since it only decides what is tried again.
    probe_seconds: float = Field(default=20.0, gt=0)
    max_hours: float = Field(default=24.0, gt=0)  # a header that claims more is quarantined
    license: str = ""  # of all files that do not name their own
    caption_column: str = ""  # of tables; "": the usual names


class ShotSettings(Section):
    """Where files are cut into clips."""

    detector: Literal["adaptive", "content", "transnetv2", "none"] = "adaptive"
    threshold: float | None = None  # of the detector; None: its own
    min_seconds: float = Field(default=1.0, gt=0)  # shorter clips are kept in the table and rejected
    max_seconds: float = Field(default=10.0, gt=0)  # longer shots become several clips
    margin_seconds: float = Field(default=0.1, ge=0)  # left out on both sides of a cut, where frames mix
    letterbox: bool = True  # crop away black bars

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_seconds < self.min_seconds:
            raise ValueError(
                f"max_seconds is {self.max_seconds}; it needs to be at least min_seconds, {self.min_seconds}"
            )
        return self


class SignalSettings(Section):
    """How clips are measured."""

    num_frames: int = Field(default=16, gt=1)  # looked at, evenly spaced
    size: int = Field(default=160, ge=32)  # pixels of the long side they are looked at in
    text: bool = False  # look for text; needs kinema[ocr]
    nsfw: str = ""  # name or folder of a transformers image classifier with an "nsfw" label; "": none
    embedding: str = "captioner"  # our captioner, or "open_clip:MODEL:PRETRAINED"


class FilterSettings(Section):
    """Thresholds: they select, and change no score. None switches one off."""

    min_duration: float | None = 1.0  # seconds
    max_static: float | None = 0.9
    max_black: float | None = 0.5
    min_motion: float | None = None
    max_motion: float | None = None
    max_camera: float | None = None
    min_sharpness: float | None = 0.1
    max_letterbox: float | None = 0.6
    max_text_area: float | None = 0.1
    max_nsfw: float | None = 0.5
    min_aspect: float | None = 0.3
    max_aspect: float | None = 3.4
    min_short_side: float | None = None  # pixels
    duplicate_bits: int | None = 8  # of the hash's 128; as near or nearer is a duplicate; None: not looked for
    duplicate_similarity: float | None = 0.98  # cosine of embeddings, of clips whose hashes are not too far


class WritingSettings(Section):
    """Who writes the captions."""

    backend: Literal["captioner", "transformers", "openai", "open_clip"] = "captioner"
    model: str = ""  # name or folder; "": the packaged captioner
    revision: str = ""  # of a hub model
    base_url: str = "http://localhost:8000/v1"  # backend openai: vLLM, SGLang, Ollama, hosted
    api_key_env: str = "OPENAI_API_KEY"  # environment variable with the key
    densify_model: str = ""  # a text model that writes the captions from the facts; "": the captioning model does
    densify_base_url: str = ""  # endpoint of that; "": a local transformers model
    # Variable with that one's key; unset: api_key_env if both endpoints are on one host, else it gets no key.
    densify_api_key_env: str | None = None
    num_frames: int = Field(default=8, gt=0)  # shown to the model
    max_side: int = Field(default=448, gt=0)  # pixels
    temperature: float = Field(default=0.0, ge=0)  # of the first attempt; retries are sampled
    retry_temperature: float = Field(default=0.7, gt=0)
    top_p: float = Field(default=0.9, gt=0, le=1)
    max_tokens: int = Field(default=512, gt=0)
    attempts: int = Field(default=3, gt=0)  # at writing a caption until it passes its checks
    seed: int = 0

    @field_validator("base_url", "densify_base_url")
    @classmethod
    def _without_key(cls, url: str) -> str:
        if opens_by_itself(url):
            raise ValueError(
                "this address has a login, a query or a fragment, which would be written into the dataset; end it "
                'with the path ("https://HOST/v1") and give the key in the environment variable that '
                "captions.api_key_env (or densify_api_key_env) names"
            )
        return url


class CheckSettings(Section):
    """What a caption must pass."""

    min_similarity: float | None = None  # mean over sentences; None: the scorer's own
    max_repetition: float = 0.2
    max_duplicates: int = 20  # clips with word for word the same text, above which it says nothing of its clip
    scorer: str = "captioner"  # similarity: our captioner, or "open_clip:MODEL:PRETRAINED"
    domain: bool = True  # mark clips that our captioner was not trained on
    domain_threshold: float | None = None  # None: the one calibrated with the captioner


class DatasetSettings(Section):
    """What is published."""

    media: Literal["cut", "reference", "webdataset"] = "cut"
    crf: int = Field(default=18, ge=0, le=51)  # quality of cut clips, H.264
    max_side: int | None = None  # pixels; larger clips are made smaller; None: as they are
    shard_mb: int = Field(default=256, gt=0)  # of WebDataset shards
    # Up to this size in all, clips that were cut also lie in clips.parquet itself, so that `load_dataset` plays
    # them wherever the folder is; 0: never.
    embed_gb: float = Field(default=10.0, ge=0)


class RunSettings(Section):
    """How the work is done; changes no row."""

    engine: Literal["local", "ray"] = "local"
    workers: int = Field(default=0, ge=0)  # 0: one a core
    batch_size: int = Field(default=8, gt=0)  # rows that are committed together; 1 where an endpoint writes
    hang_seconds: float = Field(default=1800.0, gt=0)  # a row that keeps a worker process longer is set aside
    device: str = ""  # "": cuda if there is one, else cpu
    concurrency: int = Field(default=8, gt=0)  # requests in flight at an endpoint, and clips that wait for theirs
    requests_per_minute: float | None = None
    max_retries: int = Field(default=6, ge=0)  # of a request that failed for a passing reason
    request_seconds: float = Field(default=180.0, gt=0)  # an endpoint may take for an answer
    budget: float | None = None  # money; the run stops, resumable, before it is exceeded
    price_per_million_prompt: float = Field(default=0.0, ge=0)  # money a million tokens
    price_per_million_output: float = Field(default=0.0, ge=0)
    densify_price_per_million_prompt: float | None = Field(default=None, ge=0)  # None: the captioner's price
    densify_price_per_million_output: float | None = Field(default=None, ge=0)


class CaptionSettings(Section):
    """A whole captioning run."""

    model_config = ConfigDict(hide_input_in_errors=True)  # it may be an address with a key in it

    ingest: IngestSettings = IngestSettings()
    shots: ShotSettings = ShotSettings()
    signals: SignalSettings = SignalSettings()
    filters: FilterSettings = FilterSettings()
    captions: WritingSettings = WritingSettings()
    checks: CheckSettings = CheckSettings()
    dataset: DatasetSettings = DatasetSettings()
    run: RunSettings = RunSettings()
