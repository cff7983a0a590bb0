"""LoRA adapters of a pipeline's transformer: loaded, saved, fused and taken out as in diffusers' pipelines.

    pipe.load_lora_weights("lora/", adapter_name="duck")
    pipe.set_adapters("duck", 0.8)

A file holds the adapter's weights under "transformer.", as diffusers' own video pipelines write them. Setting,
weighing and listing adapters are inherited. A file that `kinema train dit --lora` wrote also says, under
"kinema.", what it was trained on: the pipeline then knows the words that came with it, and warns of another base.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers.loaders.lora_base import LoraBaseMixin, _fetch_state_dict
from diffusers.utils.constants import USE_PEFT_BACKEND

logger = logging.getLogger(__name__)

INSTALL = "LoRA adapters need PEFT, which is not installed here: pip install 'kinema[lora]'"
_WHERE = ("cache_dir", "force_download", "proxies", "local_files_only", "token", "revision", "subfolder")

ABOUT = "kinema"  # before the names of what a file says of its training

Weights = str | Path | dict[str, torch.Tensor]


class KinemaLoraLoaderMixin(LoraBaseMixin):
    """What `KinemaPipeline` does with LoRA adapters; only the transformer takes them."""

    _lora_loadable_modules: ClassVar[list[str]] = ["transformer"]
    transformer_name = "transformer"
    transformer: Any
    text_encoder: Any

    @classmethod
    def lora_state_dict(
        cls,
        pretrained_model_name_or_path_or_dict: Weights,
        weight_name: str | None = None,
        use_safetensors: bool | None = None,
        return_lora_metadata: bool = False,
        **where: Any,
    ) -> Any:
        """Read an adapter's weights.

        Args:
            pretrained_model_name_or_path_or_dict: a folder, a file, a hub id, or the weights themselves.
            weight_name: the file in that folder or repository, if it is not the usual one.
            use_safetensors: False reads pickled weights; None does so where there are no others.
            return_lora_metadata: also return the adapter's configuration, as the file holds it.
            where: cache_dir, force_download, proxies, local_files_only, token, revision, subfolder.
        """
        unknown = sorted(set(where) - set(_WHERE))
        if unknown:
            raise TypeError(f"loading LoRA weights takes no {', '.join(unknown)}; it takes {', '.join(_WHERE)}")
        given = pretrained_model_name_or_path_or_dict
        state_dict, metadata = _fetch_state_dict(
            pretrained_model_name_or_path_or_dict=dict(given) if isinstance(given, Mapping) else str(given),
            weight_name=weight_name,
            use_safetensors=use_safetensors is not False,
            allow_pickle=use_safetensors is None,
            user_agent={"file_type": "attn_procs_weights", "framework": "pytorch"},
            **{name: where.get(name) for name in _WHERE},  # pyright: ignore[reportArgumentType]
        )
        return (state_dict, metadata) if return_lora_metadata else state_dict

    def load_lora_weights(
        self,
        pretrained_model_name_or_path_or_dict: Weights,
        adapter_name: str | None = None,
        hotswap: bool = False,
        low_cpu_mem_usage: bool = True,
        **kwargs: Any,
    ) -> None:
        """Add an adapter to the transformer and switch it on.

        Args:
            pretrained_model_name_or_path_or_dict, kwargs: see `lora_state_dict`.
            adapter_name: for `set_adapters`; None: "default_0", "default_1" …
            hotswap: put the weights in the place of the adapter of that name, without recompiling.
            low_cpu_mem_usage: build the adapter's layers without weights first.

        Raises:
            ImportError: PEFT is not installed.
            ValueError: what was read is no LoRA adapter.
        """
        if not USE_PEFT_BACKEND:
            raise ImportError(INSTALL)
        state_dict, metadata = self.lora_state_dict(
            pretrained_model_name_or_path_or_dict, **{**kwargs, "return_lora_metadata": True}
        )
        strange = [name for name in state_dict if "lora" not in name]
        if strange:
            raise ValueError(
                f"these are no LoRA weights: {len(strange)} of {len(state_dict)} names lack 'lora', such as "
                f"{strange[0]!r}; whole weights are loaded by KinemaPipeline.from_pretrained(…, transformer=…)"
            )
        about = {name: value for name, value in (metadata or {}).items() if name.startswith(f"{ABOUT}.")}
        trained_on = about.get(f"{ABOUT}.base")
        if trained_on and not self.num_fused_loras and trained_on != base_fingerprint(self.transformer):
            logger.warning(
                "this adapter was trained on other weights (%s) than this pipeline's (%s), so it may do little or "
                "harm; train it again on these",
                trained_on,
                base_fingerprint(self.transformer),
            )
        before = set(getattr(self.transformer, "peft_config", None) or ())
        self.load_lora_into_transformer(
            state_dict,
            transformer=self.transformer,
            adapter_name=adapter_name,
            metadata=metadata,
            _pipeline=self,
            low_cpu_mem_usage=low_cpu_mem_usage,
            hotswap=hotswap,
        )
        added = set(getattr(self.transformer, "peft_config", None) or ()) - before or {adapter_name or ""}
        name = added.pop()
        self._learn_words(name, about.get(f"{ABOUT}.words", ()))
        where = {key: value for key, value in kwargs.items() if value is not None}
        if where or isinstance(pretrained_model_name_or_path_or_dict, Mapping):
            self._adapter_files.pop(name, None)
        else:
            self._adapter_files[name] = str(pretrained_model_name_or_path_or_dict)

    def unload_lora_weights(self) -> None:
        """Take all adapters out; what was fused stays."""
        super().unload_lora_weights()
        if not self.num_fused_loras:
            for name in list(self._words):
                self._learn_words(name, ())

    def delete_adapters(self, adapter_names: list[str] | str) -> None:
        """Take these adapters out for good."""
        super().delete_adapters(adapter_names)
        for name in [adapter_names] if isinstance(adapter_names, str) else adapter_names:
            self._learn_words(name, ())

    @property
    def _adapter_files(self) -> dict[str, str]:
        """Where each adapter came from, if that says it all."""
        return self.__dict__.setdefault("_files_of_adapters", {})

    def applied_adapters(self) -> tuple[tuple[str, ...], bool]:
        """What the adapters that are switched on came from, and whether that is not the whole story.

        Returns:
            "FILE" or "FILE:SCALE" of each, as `kinema generate --lora` takes them; and whether there are others:
            fused, given as tensors, or weighed differently from layer to layer.
        """
        more, scales = self.num_fused_loras > 0, {}
        if getattr(self.transformer, "peft_config", None):
            from peft.tuners.lora import LoraLayer

            for layer in self.transformer.modules():
                if isinstance(layer, LoraLayer) and not layer.disable_adapters:
                    for name in layer.active_adapters:
                        if name in layer.r:
                            scale = layer.scaling[name] * layer.r[name] / layer.lora_alpha[name]
                            scales.setdefault(name, set()).add(round(scale, 6))
        files = []
        for name, weights in scales.items():
            file, scale = self._adapter_files.get(name), weights.pop()
            if file is None or weights or self.transformer.peft_config[name].use_rslora:
                more = True
            elif scale:
                files.append(file if scale == 1 else f"{file}:{scale:g}")
        return tuple(files), more

    @property
    def _words(self) -> dict[str, tuple[str, ...]]:
        """The words that each adapter brought."""
        return self.__dict__.setdefault("_words_of_adapters", {})

    def _learn_words(self, adapter_name: str, words: Iterable[str]) -> None:
        """Let a closed vocabulary have an adapter's words, in place of those that it brought before."""
        for text in getattr(self.text_encoder, "conditioners", [self.text_encoder]):
            known = getattr(text, "config", {}).get("vocabulary")
            if known is None:
                continue
            own = self.__dict__.setdefault("_own_vocabularies", {}).setdefault(id(text), tuple(known))
            brought = {**self._words, adapter_name: tuple(words)}
            text.register_to_config(vocabulary=sorted({*own}.union(*brought.values())))
        self._words[adapter_name] = tuple(words)
        if not words:
            del self._words[adapter_name]

    @classmethod
    def load_lora_into_transformer(
        cls,
        state_dict: dict[str, torch.Tensor],
        transformer: Any,
        adapter_name: str | None = None,
        _pipeline: Any = None,
        low_cpu_mem_usage: bool = False,
        hotswap: bool = False,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Add weights named "transformer.…" as an adapter to a transformer."""
        transformer.load_lora_adapter(
            state_dict,
            network_alphas=None,
            adapter_name=adapter_name,
            metadata=metadata,
            _pipeline=_pipeline,
            low_cpu_mem_usage=low_cpu_mem_usage,
            hotswap=hotswap,
        )

    @classmethod
    def save_lora_weights(
        cls,
        save_directory: str | Path,
        transformer_lora_layers: dict[str, torch.Tensor] | None = None,
        is_main_process: bool = True,
        weight_name: str | None = None,
        save_function: Callable[..., None] | None = None,
        safe_serialization: bool = True,
        transformer_lora_adapter_metadata: dict[str, Any] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """Write an adapter into a folder that `load_lora_weights` reads.

        Args:
            save_directory: the folder; it is made if need be.
            transformer_lora_layers: `peft.utils.get_peft_model_state_dict(transformer)`.
            is_main_process, save_function, safe_serialization: as in a model's `save_pretrained`.
            weight_name: the file; None: pytorch_lora_weights.safetensors.
            transformer_lora_adapter_metadata: `transformer.peft_config[adapter].to_dict()`: rank, alpha and
                layers, without which they are guessed from the weights.
            about: of its training, kept in the file: "base", the `base_fingerprint` of the transformer; "words"
                that the text encoder did not know; and anything else that JSON can hold.

        Raises:
            ValueError: there are no weights.
        """
        if not transformer_lora_layers:
            raise ValueError(
                "there are no LoRA weights to save; give transformer_lora_layers="
                "peft.utils.get_peft_model_state_dict(pipe.transformer)"
            )
        cls._save_lora_weights(
            save_directory=save_directory,
            lora_layers={cls.transformer_name: transformer_lora_layers},  # pyright: ignore[reportArgumentType]
            lora_metadata={cls.transformer_name: transformer_lora_adapter_metadata, ABOUT: dict(about or {})},
            is_main_process=is_main_process,
            weight_name=weight_name,  # pyright: ignore[reportArgumentType]
            save_function=save_function,  # pyright: ignore[reportArgumentType]
            safe_serialization=safe_serialization,
        )

    def fuse_lora(
        self,
        components: list[str] | None = None,
        lora_scale: float = 1.0,
        safe_fusing: bool = False,
        adapter_names: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the adapters' weights, times `lora_scale`, to the transformer's own: inference is then as fast."""
        super().fuse_lora(
            components=components or self._lora_loadable_modules,
            lora_scale=lora_scale,
            safe_fusing=safe_fusing,
            adapter_names=adapter_names,
            **kwargs,
        )

    def unfuse_lora(self, components: list[str] | None = None, **kwargs: Any) -> None:
        """Undo `fuse_lora`."""
        super().unfuse_lora(components=components or self._lora_loadable_modules, **kwargs)


def base_fingerprint(transformer: Any) -> str | None:
    """16 hex digits that change with a transformer's own weights, whatever adapters it carries.

    The same in float32 and bfloat16; None if weights are not in memory.
    """
    digest = hashlib.sha256()
    for name, tensor in transformer.state_dict().items():
        if ".lora_" in name:
            continue
        if tensor.is_meta:
            return None
        flat = tensor.detach().flatten()
        sample = flat[:: max(1, flat.numel() // 64)].to("cpu", torch.bfloat16)
        digest.update(f"{name.replace('.base_layer', '')} {tuple(tensor.shape)} ".encode())
        digest.update(sample.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:16]
