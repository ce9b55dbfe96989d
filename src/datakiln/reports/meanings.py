"""What each figure says, in plain words: one text a name, whatever made its features and however many examples."""

from __future__ import annotations

import re
from collections.abc import Iterable

MEANINGS = {
    # tables, single columns and pairs
    "fidelity/shape": "How alike single columns are, on average: 1 means that each has the real one's distribution.",
    "fidelity/trend": "How alike the relations of two columns are, over all pairs: 1 means as in the real table.",
    "fidelity/trend_quantiles": "The same with numbers in bins of equally many real rows, which long tails and single "
    "extreme values do not move: how alike the joint tables of two columns are.",
    "fidelity/strong_trend": "How alike pairs of columns are that are clearly related in the real table.",
    "fidelity/coverage": "How much of each column's range, or of its categories, the synthetic rows reach.",
    "fidelity/boundary_adherence": "Share of numbers that lie between the real column's lowest and highest.",
    "fidelity/category_adherence": "Share of categories that occur in the real table.",
    "fidelity/missing_similarity": "Whether cells are missing as often as in the real table; 1 means exactly.",
    "fidelity/wasserstein": "How far numbers would have to be moved to become the real ones, in standard deviations.",
    "fidelity/correlation_distance": "How much the correlations of numbers differ from the real ones, on average.",
    "fidelity/theils_u_difference": "How much better or worse one category tells another than in the real table.",
    "fidelity/correlation_ratio_difference": "How much more or less a category tells of a number than in reality.",
    "fidelity/rare_coverage": "Share of the rare categories that occur at all.",
    "fidelity/mmd": "How far whole rows are from real ones, all columns together; 0 means that nothing differs.",
    "fidelity/alpha_precision": "Whether rows look typical of the real table; low where many could not be real.",
    "fidelity/beta_recall": "Whether every kind of real row has its like; low where kinds of rows are missing.",
    "fidelity/relations": "How well relations are kept that were found in the real rows, such as one column being the "
    "sum of two others: 1 means that each holds in as many rows.",
    "fidelity/relations_real": "In how many real rows those relations hold, on average.",
    "fidelity/relations_synthetic": "In how many synthetic rows those relations hold, on average.",
    "fidelity/distinct": "Share of rows that differ from each other, beside real ones; low where rows repeat.",
    "twosample/boosting_auc": "How well a strong classifier tells synthetic from real rows: 0.5 not at all, 1 always.",
    "twosample/boosting_relations": "The same where the classifier is also shown what two columns come to: it sees "
    "whether one equals another, is less, or goes with the parts of a date.",
    "twosample/logistic_auc": "How well a simple classifier tells them: 0.5 not at all, 1 always. It is easily fooled.",
    # pictures made of pictures
    "upscaling/psnr": "How near enlarged pictures are to the real ones, pixel by pixel, in decibels; the floor is "
    "bicubic interpolation.",
    "upscaling/ssim": "How much of the structure of the real pictures enlarged ones have: 1 means all.",
    "upscaling/consistency": "How far enlarged pictures, made small again, are from those given, in grey levels.",
    "upscaling/perceptual": "How far enlarged pictures are from real ones in the eyes of a network: 0 means not.",
    "translation/cycle_there": "What is lost of a picture of the first set on its way there and back, in grey levels.",
    "translation/cycle_back": "What is lost of a picture of the second set on its way there and back, in grey levels.",
    "translation/agreement_there": "Share of translations that a classifier of the other side gives their old class.",
    "translation/agreement_back": "The same of the way back; low where translations are of another class.",
    "variation/spread": "How far variations of one picture are from each other, over real pictures of a class: 0 means "
    "that they are all the same, 1 as various as real ones.",
    # the latent space, where measure_latents=true asked for it
    "latent/probe_r2": "Share of the variation of what examples show that is linear in the latents: 1 means all of it.",
    "latent/log_path_length": "How much an example changes on a short step between two latents, as a power of ten; the "
    "floor is a jump to an unrelated example at every step.",
    "latent/mig": "Whether each thing that varies in pictures is told by one latent number and by no other: 1 wholly; "
    "the floor is latents of other pictures.",
    "latent/dci": "Whether each latent number tells of one thing that varies alone: 1 wholly.",
    "latent/label_probe": "How often a linear classifier tells the class from the latents, where the model was not "
    "told it: 1 means always; the floor is the commonest class.",
    "latent/interpolation": "Share of examples half way between two latents that are as near to real ones as these "
    "are to each other; the floor is the plain mean of two real examples.",
    "latent/inversion_error": "How far real examples are off that were brought to latents and back, in grey levels or "
    "real standard deviations; the floor is the nearest training example.",
    "latent/hidden_probe": "How often a linear classifier tells the class from hidden states of a model that has no "
    "latents and is not told it here; the floor is the commonest class.",
    # what a model can be used for, where measure_uses=true asked for it
    "control/met": "Share of the rows drawn at once that meet what was asked of them: 1 means all, without a second "
    "draw; the floor is the share of real rows that do.",
    "control/rest_error": "How far the other columns of rows made under a condition are from those of real rows that "
    "meet it; the floor is rows drawn whatever they meet.",
    "control/constraints": "Share of rows that keep every constraint and relation of columns that real rows keep; the "
    "floor is real rows whose columns are shuffled.",
    "control/asked_r2": "How near slant, thickness and brightness of pictures come to those asked for, by one move in "
    "the latent space: 1 exactly, 0 as if nothing had been asked.",
    "control/drift": "How far the rest of a picture moves when one of its attributes is asked for, in standard "
    "deviations per one reached: 0 not at all; the floor is another picture of the same class.",
    "uses/filling_error": "How far filled cells are from the truth, over the error of the column's median or most "
    "frequent category: 1 is no better than these, 0 the truth.",
    "uses/scoring_auc": "How well the model's likelihood tells strange examples from real ones: 0.5 not at all, 1 "
    "always; the floor is the distance to the nearest training example.",
    "uses/balancing": "How well classes are told where rows made by the model bring a rare class up; the floor is the "
    "better of SMOTE and of the same rows again and again.",
    "gain/rows_auc": "What synthetic rows beside as many real ones add to the AUC of a classifier, against the best "
    "plain way; the ceiling is what as many further real rows add.",
    "gain/rows_r2": "What synthetic rows beside as many real ones add to the variation of the target that is told; the "
    "ceiling is what as many further real rows add.",
    "control/static_met": "Share of sequences that have the static value that was asked for; the floor is the share of "
    "real ones that do.",
    "control/static_rest_error": "How far the means of sequences asked for by a static value are from those of real "
    "ones that have it; the floor is sequences whatever they have.",
    "watch/fidelity": "What is watched while a model of tables trains, at its end: the likeness of columns and pairs; "
    "the floor are rows of which each column was shuffled, the ceiling other real rows, as many.",
    "watch/autocorrelation": "What is watched while a model of series trains, at its end: how far autocorrelations are "
    "from real ones; the floor are windows with their steps shuffled, the ceiling other real windows.",
    "control/forecast_error": "How far forecasts of the next steps are off, in training ranges; the floor is the last "
    "value or that of a season ago, the ceiling a linear forecast.",
    "uses/gap_error": "How far filled gaps of a series are off, in training ranges; the floor is a straight line.",
    "gain/pictures": "What synthetic pictures add to the share that a classifier tells, beside few real ones that are "
    "shifted and turned; the ceiling is what as many further real pictures add.",
    "uses/inpainting_error": "How far the hidden half of pictures is from what was there, in grey levels; the floor is "
    "that half of the learnt picture whose shown half is nearest.",
    "uses/upscaling_error": "How far pictures drawn at twice the side are from the real ones, in grey levels; the "
    "floor repeats every pixel.",
    "uses/bits_per_dim": "Bits that the model needs for a value of an unseen picture; the floor knows how often each "
    "place has which level.",
    "uses/anomaly_auc": "How well the model tells pictures with a quarter from elsewhere: 0.5 not at all, 1 always; "
    "the floor is the distance to the nearest learnt picture.",
    "gain/forecast": "How many powers of ten the error of a linear forecast falls by when synthetic windows are added; "
    "the ceiling is what as many further real windows do.",
    # use of tables
    "utility/tstr_auc": "How well a model that learnt from synthetic rows ranks real ones: 1 perfectly, 0.5 by chance.",
    "utility/tstr_accuracy": "Share of real rows whose class is told by a model that learnt from synthetic rows alone.",
    "utility/tstr_f1": "How well a model that learnt from synthetic rows tells classes, rare ones counted as others.",
    "utility/tstr_r2": "Share of the target's variation explained by a model that learnt from synthetic rows alone.",
    "utility/tstr_rmse": "Typical error, in the target's unit, of a model that learnt from synthetic rows alone.",
    "utility/augmented_auc": "How well a model that learnt from real and synthetic rows together ranks real ones.",
    "utility/augmented_accuracy": "Share of real rows whose class is told when synthetic rows are added to learn from.",
    "utility/augmented_f1": "How well classes are told, rare ones too, when synthetic rows are added to learn from.",
    "utility/augmented_r2": "Share of the target's variation explained when synthetic rows are added to learn from.",
    "utility/augmented_rmse": "Typical error, in the target's unit, when synthetic rows are added to learn from.",
    # privacy of tables
    "privacy/copies": "Share of rows that equal a row the model has learnt from, nearly unique numbers aside.",
    "privacy/closer_to_train": "Share of rows nearer to learnt rows than to as many unseen ones; 0.5 shows no memory.",
    "privacy/dcr_median": "Distance of a typical synthetic row to the nearest row the model has learnt from.",
    "privacy/dcr_p5": "Distance to the nearest learnt row of the twentieth of the rows that come nearest.",
    "privacy/dcr_ratio": "Distance to the nearest learnt row, over that of unseen real rows; 1 is as far as those.",
    "privacy/nndr_median": "Whether a row clings to one single learnt row: near 0 it does, near 1 it does not.",
    "privacy/nndr_p5": "Whether the twentieth that clings most clings to one single learnt row: near 0 it does.",
    "privacy/membership_auc": "How well the strongest of several attacks tells learnt rows from unseen ones: 0.5 is a "
    "guess, 1 certainty.",
    "privacy/membership_tpr1": "Share of learnt rows that this attack names, where it names 1 % of unseen ones too.",
    "privacy/membership_tpr01": "Share of learnt rows that it names, where it names 0.1 % of unseen ones too.",
    "privacy/membership_outliers_auc": "The same of the tenth of the rows that are farthest from all others.",
    "privacy/membership_outliers_tpr1": "Share of those learnt that are named, where 1 % of those unseen are too.",
    "privacy/singling_out": "How much surer synthetic rows single out a learnt person than one who was held out.",
    "privacy/linkability": "How much surer synthetic rows link two halves of a learnt person's columns than of others.",
    "privacy/inference": "How much surer synthetic rows tell a secret of learnt persons than of held-out ones.",
    "privacy/canaries": "How surely rows come back that were planted among the training rows as often as it says.",
    # pictures
    "fid": "Distance of the pictures from real ones as a network sees them; 0 means none, and it falls as n grows.",
    "fid_infinity": "Distance from real pictures as a network sees them, as if there were pictures without end.",
    "kid": "Another distance from real pictures as a network sees them, which does not depend on n; 0 means none.",
    "inception_score": "Whether pictures are clear and various; it never looks at the real ones.",
    "precision": "Share of pictures that could be real; low where many are broken.",
    "recall": "Share of real pictures whose like the model makes; low where it has left kinds of pictures out.",
    "density": "How deep among real pictures the synthetic ones lie; about 1 for real ones.",
    "coverage": "Share of real pictures that have a synthetic one nearby; low where kinds of pictures are missing.",
    "vendi": "How many different pictures the sample amounts to, as a network sees them, real ones not looked at; it "
    "grows with n, and noise has much of it.",
    "prd_f8": "Recall in one number from groups of alike pictures; 1 means that no group is missing.",
    "prd_f1_8": "Precision in one number from groups of alike pictures; 1 means that no group is made up.",
    "swd": "How far patches of the pictures are from real ones, at several sizes, in thousandths; by no network.",
    "judge/fid": "Distance from real pictures as a classifier of their own classes sees them; a second witness.",
    "error": "Share of pictures whose class a classifier gets wrong that has learnt from few labels and all pictures.",
    "error_alone": "Share of pictures whose class the same classifier gets wrong when it learns from its labels alone.",
    "judge/accuracy": "Share of pictures in which a classifier of real pictures sees the class that was asked for.",
    "judge/class_share_distance": "How far the shares of the classes are from the real ones; 0 means equal.",
    "judge/classes_covered": "Share of the classes that occur; low where the model makes only some.",
    "memorisation/nearest_distance": "How far a typical picture is from the nearest learnt one, in grey levels.",
    "memorisation/copies": "Share of pictures that equal, or almost, one the model has learnt from.",
    "memorisation/near_copies": "Share of pictures that are one the model has learnt from, slightly changed.",
    # the model's own
    "loss": "What the model tries to make small while it learns; only comparable between runs of one model.",
    "elbo": "A lower bound of how likely the model holds unseen real data, in nats.",
    "iwae": "A closer lower bound of how likely the model holds unseen real data, in nats.",
    "reconstruction": "How well the model writes down again what it has packed into its latent numbers.",
    "kl": "How much the latent numbers tell of an example, in nats.",
    "fidelity": "Mean of the likeness of columns and of pairs on the validation rows.",
    "shape": "How alike single columns are, on the validation rows.",
    "trend": "How alike pairs of columns are, on the validation rows.",
    "membership": "How well samples tell training from validation rows while the model trains: 0.5 is a guess.",
    "boosting_relations": "How well a classifier that is shown what two columns come to tells synthetic rows: 0.5 not.",
    # cost
    "cost/wall_seconds": "Time from the start of the run to its report.",
    # series
    "series/marginals": "How far the values of single columns are from the real ones, at any step: 0 means the same.",
    "series/changes": "How far changes from one step to the next are from the real ones: 0 means the same.",
    "series/marginals_by_step": "How far the values at each step of a window are from the real ones at that step, on "
    "average over steps: 0 means the same. It sees a drift that all steps together do not.",
    "series/autocorrelation": "How differently a column goes with its own past than in reality, over several lags.",
    "series/correlation": "How differently two columns go together than in reality, at the same step.",
    "series/lagged_correlation": "How differently a column goes with another one a step before than in reality.",
    "series/cross_correlation": "How differently two columns go together than in reality, one of them up to half a "
    "window later: 0 means the same.",
    "series/spectrum": "How differently slow and fast movements share the variation, as powers of ten.",
    "series/clustering": "Whether calm and wild times last as long as in reality: how differently the size of changes "
    "goes with its own past, 0 means the same.",
    "series/tails": "How differently the largest changes thin out, whatever their scale: 0 means the same. Heavy tails "
    "and Gaussian ones are 0.1 to 0.3 apart.",
    "series/transitions": "Share of the steps of categories that would have to lead to another category than they do, "
    "each state left as often as in reality: 0 means that all follow each other as they should.",
    "series/static_association": "How differently mean and moves of a sequence go with what holds for the whole of it, "
    "such as sex: 0 means the same. Of few sequences real data has much of it too.",
    "series/rule_violations": "Share of the rows that break a rule which is declared, or holds in real rows, such as "
    "High >= Low: 0 means none.",
    "series/time_steps": "How far the times between rows are from the real ones: 0 means the same.",
    "series/lengths": "How far the lengths of sequences are from the real ones: 0 means the same.",
    "series/coverage": "Share of unseen windows that have a synthetic one nearby; low where kinds of them are missing.",
    "series/discriminative": "How much more often than by chance a small recurrent net tells synthetic windows from "
    "real ones, as published tables have it: 0 never, 0.5 always. It is easily fooled.",
    "series/context_fid": "How far windows are from real ones in what a small net keeps of them: 0 means the same.",
    "sound/bits_per_sample": "How many bits the model needs for a sample of an unseen sound; 8 know nothing.",
    "text/bits_per_character": "How many bits the model needs for a byte of unseen text; 8 know nothing.",
    "text/bits_per_character_gzip": "How many bits gzip needs for the same bytes behind the training text.",
    "text/bits_per_character_xz": "How many bits xz needs for the same bytes behind the training text.",
    "text/bits_per_character_5gram": "How many bits counts of five bytes and the next need for the same bytes.",
    "text/remembered": "Share of the runs of 20 bytes that stand word for word in the training text.",
    "series/predictive": "How far a net that learnt from synthetic windows is off, one step ahead, on training ones.",
    "twosample/gru32_auc": "How well a recurrent net tells synthetic from real windows: 0.5 not at all, 1 always.",
    "utility/forecast_error": "How far a net that learnt from synthetic windows is off, one step ahead, on new ones.",
    "cost/cpu_seconds": "Processor time of the run, all cores together.",
    "cost/fit_cpu_seconds": "Processor time of training, all cores together.",
    "cost/peak_memory_mb": "The most memory the run held at once.",
    "cost/parameters": "Numbers that the model has learnt.",
    "cost/sampled_per_cpu_second": "Synthetic examples that a second of the processor makes and writes.",
}
STAGES = {
    "best": "At the epoch that was kept",
    "test": "On held-out data",
    "val": "On validation data",
    "train": "On training data",
    "refit": "On all rows, in the second fit",
}
# "_linear" and "_p5" are choices within a metric, the rest of a picture's path is its extractor and its n
_VARIANTS = re.compile(r"(?<=tstr)_linear|(?<=augmented)_linear|(?<=dcr_ratio)_p[0-9.]+$")


def short_name(name: str) -> str:
    """A figure's name without what made its features and how many examples: "fid/classifier@10aa-.../n270" is "fid"."""
    parts = name.split("/")
    kept = [part for part in parts if "@" not in part and not re.fullmatch(r"n\d+", part)]
    return "/".join(kept) if kept else name


def short_names(names: Iterable[str]) -> dict[str, str]:
    """A short name for each; those that two figures would share keep what tells them apart."""
    listed = list(dict.fromkeys(names))
    short = {name: short_name(name) for name in listed}
    shared = {mark for mark in short.values() if list(short.values()).count(mark) > 1}
    return {name: name if mark in shared else mark for name, mark in short.items()}


def stem(name: str) -> str:
    """The name under which `MEANINGS` has a figure, whatever its stage, extractor, n or choice within the metric."""
    short = _VARIANTS.sub("", short_name(name))
    while (head := short.partition("/"))[0] in STAGES and head[2]:
        short = head[2]
    return short


def meaning(name: str) -> str:
    """What a figure says, in a sentence or two; "" for one of a person's own, of which nothing is known here."""
    stages = [part for part in name.split("/")[:2] if part in STAGES]
    told = MEANINGS.get(stem(name), "")
    if not told:
        return f"{STAGES[stages[-1]]}: a part of what the model measures itself by." if stages else ""
    short = short_name(name)
    if "_linear" in short:
        told = f"{told} Here by a simple (linear) model."
    if re.search(r"dcr_ratio_p[0-9.]+$", short):
        told = f"{told} Here of the {short.rpartition('_p')[2]} % that come nearest."
    return f"{STAGES[stages[0]]}: {told[0].lower()}{told[1:]}" if stages else told
