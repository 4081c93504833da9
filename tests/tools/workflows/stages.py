"""How the shipped workflows are laid out: the note, and the nodes by stage.

Stages are given in rows, each in columns from left to right; the stages of one column stand below each other. What a
person gives and gets is in the first row, beside the note: it is in view after a run. How it is done is below.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

INPUT, MODEL, HEAD, VIEW, RESULT = "#3f789e", "#b58b2a", "#a1309b", "#8A8", "#b06634"


@dataclass(frozen=True)
class Stage:
    """A group of nodes: ids in the API prompt, each with the least column (from 0) within the column of stages.

    ``pinned`` ones stand in that very column.
    """

    title: str
    colour: str
    ids: dict[str, int]
    pinned: frozenset[str] = frozenset()


@dataclass(frozen=True)
class App:
    """What the App mode of newer frontends shows: (node id, widget, label) and the ids of the nodes with results.

    A viewer, which the page adds to a node, brings its own label.
    """

    inputs: tuple[tuple[str, str, str], ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """A workflow: ``note`` is Markdown; ``sizes`` are widths and heights of nodes whose pictures need more room."""

    note: str
    rows: tuple[tuple[tuple[Stage, ...], ...], ...]
    app: App | None = None
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)


def stage(title: str, colour: str, ids: str) -> Stage:
    """From words like "render", "render@2", not left of column 2, or "render=0", in column 0."""
    parts = [re.match(r"(\w+)(?:([@=])(\d+))?$", word).groups() for word in ids.split()]
    pinned = frozenset(key for key, mark, _ in parts if mark == "=")
    return Stage(title, colour, {key: int(least or 0) for key, _, least in parts}, pinned)


PHOTO = stage("Photo", INPUT, "load_photo")
FACE = stage("Find the face", INPUT, "align")
# The generator, which most nodes take, is the lowest: its links then leave the titles of groups alone.
MODELS = stage("Models", MODEL, "load_encoder_1 load_encoder_2 load_generator")
# As wide as photo and face above, so that what takes both stands right of them.
ALL_MODELS = stage("Models", MODEL, "load_encoder_1=0 load_encoder_2=0 load_generator=1")
GENERATOR = stage("Model", MODEL, "load_generator")

_YOUR_PHOTO = """
**Your own photo:** choose it in *Photo*. Then look at the picture below *Align the portrait*: box, mesh and axes should
sit on the face. If not, set *pose* to *by hand*.
"""
_REAL_WEIGHTS = """
**Other models:** put them into **models/dualenc**, press **R**, and choose them under *Models*. PanoHead's own weights:
workflow 12.
"""

# Three or four pictures beside each other.
STRIPS = {"save_front": (660, 240), "save_behind": (660, 300)}
VIDEO = {"save_video": (620, 730)}
# Three below each other in one window.
PICTURE = (310, 280)

PLANS = {
    "01_photo_to_360_head": Plan(
        f"""# Photo to 360° head

Press **Run**: one photo becomes a head that you can see from all sides. Drag it in *Turn the head*.

1. *Align the portrait* crops the face and finds its camera.
2. **Encoder 1** is true to the photo, **Encoder 2** is realistic all round.
3. The **mask** says what the photo does not show (red).
4. **Join** takes the first head where the photo shows it, the second elsewhere, in the colours of the first.
5. **Turn the head** draws it from all sides for your mouse, **Render** from eight cameras for files.
{_YOUR_PHOTO}{_REAL_WEIGHTS}
In *Turn the head*: drag or arrow keys turn, the wheel zooms, ▶ plays, a double click goes to the front. Change *start*,
*end* or *pitch* in *Once round the head* and run again: only the eight views are drawn anew.
""",
        (
            (
                (PHOTO,),
                (stage("1 · Find the face", INPUT, "align"),),
                (stage("Turn it", RESULT, "turntable"),),
                (stage("Eight views", RESULT, "save"),),
            ),
            (
                (ALL_MODELS,),
                (
                    stage("2 · Two heads", HEAD, "encode_1=0 encode_2=0"),
                    stage("On the way", VIEW, "preview_portrait=0 preview_mask=0"),
                ),
                (stage("3 · Join them", HEAD, "mask=0 stitch=0"), stage("4 · Views", VIEW, "orbit=0 render=0")),
            ),
        ),
        App(
            (
                ("load_photo", "image", "Photo"),
                ("turntable", "turntable", ""),
                ("orbit", "frames", "Pictures"),
                ("orbit", "pitch", "From above (°)"),
            ),
            ("save",),
        ),
        sizes={"turntable": (460, 774), "save": (310, 700)},
    ),
    "02_photo_to_turntable_video": Plan(
        f"""# Photo to turntable video

Press **Run**: the photo becomes a head, the head a video of two seconds that loops.

- *Photo to head* does encoding, masking and joining in one node.
- *Turntable*: more **frames** = slower and longer. Turn on **swing** (for example from -40 to 40) to go to and fro.
- Its **fps** go to the video by the link.
{_YOUR_PHOTO}{_REAL_WEIGHTS}""",
        (
            (
                (PHOTO,),
                (FACE,),
                (stage("The video", RESULT, "save_video"),),
            ),
            (
                (ALL_MODELS,),
                (stage("Head", HEAD, "invert"),),
                (stage("Frames", VIEW, "orbit=0 render=0"), stage("Together", VIEW, "video=0")),
            ),
        ),
        App(
            (
                ("load_photo", "image", "Photo"),
                ("orbit", "frames", "Frames"),
                ("orbit", "swing", "To and fro"),
                ("orbit", "fps", "Frames a second"),
            ),
            ("save_video",),
        ),
        sizes=VIDEO,
    ),
    "03_sample_heads": Plan(
        """# Sample heads

Press **Run**: eight heads that nobody has ever seen. No photo needed.

- **seed**: other heads. The second picture is seed + 1, and so on, so you can go back to one you like.
- **truncation**: 0 = the average head, 1 = all variety, with more failures.
- **Camera**: drag on the pad.
""",
        (
            (
                (GENERATOR,),
                (stage("Heads", HEAD, "sample"), stage("Camera", VIEW, "camera")),
                (stage("Eight heads", RESULT, "save=0"), stage("Render", VIEW, "render=0")),
            ),
        ),
        sizes={"save": (430, 500)},
    ),
    "04_pose_controlled_views": Plan(
        f"""# Pose-controlled views

Press **Run**: three views of one head, each from a camera of its own.

- **Drag** on a camera's pad to turn the head, use the **wheel** for the distance, **double-click** for the front. Run
  again: the head is kept, only that view is drawn anew.
- *From above* also gives **depth** (near = white), **normals** and **alpha**, ready for ControlNet and masks.
- *From behind* is **transparent**: background is set to *transparent*, and the saved PNG has an alpha channel.
{_YOUR_PHOTO}{_REAL_WEIGHTS}""",
        (
            (
                (PHOTO,),
                (FACE,),
                (stage("Views", RESULT, "save_left save_above save_cutout"),),
                (stage("Depth, alpha, normals", RESULT, "save_depth save_alpha save_normal"),),
            ),
            (
                (ALL_MODELS,),
                (stage("Head", HEAD, "invert=0"), stage("From the left", VIEW, "camera_left=0 render_left=0")),
                (
                    stage("From above", VIEW, "camera_above=0 render_above=0 alpha=0"),
                    stage("From behind, transparent", VIEW, "camera_behind=0 render_cutout=0"),
                ),
            ),
        ),
        sizes=dict.fromkeys(
            ("save_left", "save_above", "save_cutout", "save_depth", "save_alpha", "save_normal"), PICTURE
        ),
    ),
    "05_head_into_diffusion": Plan(
        f"""# Head into diffusion

The head sets pose and shape, Stable Diffusion adds the detail, then paints a new background.

**You need two files** (any SD 1.5 checkpoint and its depth ControlNet will do; choose yours in the two loaders):

- **models/checkpoints/**
  [v1-5-pruned-emaonly-fp16.safetensors](https://huggingface.co/Comfy-Org/stable-diffusion-v1-5-archive)
- **models/controlnet/**
  [control_v11f1p_sd15_depth_fp16.safetensors](https://huggingface.co/comfyanonymous/ControlNet-v1-1_fp16_safetensors)

Then press **Run**.

- **denoise** in *Refine*: 0.3 keeps the head, 0.5 invents more. **strength** of the depth holds its shape.
- *Everything but the head* is the alpha turned round: only the background is painted.
- For another view drag on the camera's pad.
- SDXL: load its files and scale to 1024.
{_YOUR_PHOTO}{_REAL_WEIGHTS}""",
        (
            (
                (PHOTO,),
                (FACE,),
                (stage("The refined head", RESULT, "save_refined"), stage("Depth", VIEW, "preview_depth")),
                (stage("On a new background", RESULT, "save_background"),),
            ),
            (
                (ALL_MODELS,),
                (stage("Head and camera", HEAD, "invert=0 camera=0"),),
                (stage("View and depth", VIEW, "render=0 scale_image=0 scale_depth=0"),),
            ),
            (
                (
                    stage(
                        "Your files and words",
                        MODEL,
                        "load_checkpoint=0 load_controlnet=0 prompt_head=1 prompt_background=1 prompt_negative=1",
                    ),
                ),
                (stage("Refine the head", HEAD, "control=0 encode=0 refine=1 decode=1"),),
            ),
            (
                (
                    stage(
                        "Paint a background",
                        HEAD,
                        "background_mask encode_background paint_background decode_background",
                    ),
                ),
            ),
        ),
    ),
    "06_save_and_reload": Plan(
        """# Save and reload a head

Press **Run**: a head is saved to **output/dualenc** and loaded again from there.

- The **path** link gives the file that was just saved. To load an older head, cut the link and choose it in **file**
  (press **R** if it is not listed yet).
- Heads in the input folder are listed too: share them as files.
- A head renders only with the generator that made it.
""",
        (
            (
                (GENERATOR,),
                (stage("Make and save", HEAD, "sample=0 save_head=0"), stage("Load", VIEW, "load_head=0 orbit=0")),
                (stage("The loaded head", RESULT, "save=0"), stage("Render", VIEW, "render=0")),
            ),
        ),
    ),
    "07_compare_encoders": Plan(
        f"""# Compare the encoders

Press **Run**: the same photo by Encoder 1, by Encoder 2, and by both joined.

- *From the photo's side* Encoder 1 should win: higher **PSNR** and **SSIM**, lower **L2**.
- *From behind* Encoder 2 should look better: the photo shows nothing of it.
- *Both joined* should be good on both sides.
{_YOUR_PHOTO}{_REAL_WEIGHTS}
LPIPS and identity need weights of their own: turn on *perceptual* in a compare node, its message says which files, from
where, and into which folder.
""",
        (
            (
                (PHOTO,),
                (
                    stage("From the photo's side", RESULT, "save_front"),
                    stage("From behind", RESULT, "save_behind"),
                ),
                (stage("Numbers", RESULT, "compare_1 compare_2 compare_both"),),
            ),
            (
                (FACE,),
                (MODELS,),
                (stage("Three heads", HEAD, "encode_1=0 encode_2=0 invert=0"),),
            ),
            (
                (stage("Views from behind", VIEW, "camera=0 render_1=1 render_2=1 render_both=1"),),
                (stage("Side by side", VIEW, "front_1=0 front_2=0 front=0 behind_1=1 behind=1"),),
            ),
        ),
        sizes=STRIPS,
    ),
    "08_hair_transfer": Plan(
        f"""# Hair transfer

Press **Run**: the head of the photo gets somebody else's hair, all round.

1. *Hair to take* and *Hair to replace* find the hair of both heads. **Red** should cover all hair and no face.
2. *Transfer the hair* joins both heads.
3. *Before* and *After* show the same eight sides.

- **Other hair:** change **seed** in *Somebody else's hair*, or put another photo's head there.
- **match** in *Transfer the hair*: *region* keeps the old hair's colour and takes the new cut.
- The red is wrong? Set **part** to *painted* and paint the hair on a picture of the head, see the node's help.
- Eyes, mouth or nose: change **part** in both masks and **recipe** in *Transfer the hair*.
{_YOUR_PHOTO}{_REAL_WEIGHTS}""",
        (
            (
                (PHOTO,),
                (FACE,),
                (stage("After", RESULT, "save"), stage("Before", RESULT, "preview_before")),
            ),
            (
                (ALL_MODELS,),
                (stage("Two heads", HEAD, "invert=0 sample=0"),),
                (stage("Their hair", HEAD, "hair_reference=0 hair_target=0"), stage("Transfer", HEAD, "transfer=0")),
            ),
            ((stage("Views", VIEW, "orbit=0 render=1 render_before=2"),),),
        ),
        App(
            (
                ("load_photo", "image", "Photo"),
                ("sample", "seed", "Whose hair"),
                ("transfer", "match", "Colour of the hair"),
            ),
            ("save", "preview_before"),
        ),
        sizes={"save": (600, 360), "preview_before": (600, 330)},
    ),
    "09_morph_video": Plan(
        """# Morph video

Press **Run**: four heads turn into one another while the camera goes to and fro, as a video of three seconds that
loops.

- **seed** in *Four heads*: other heads; **count**: more of them (give *To and fro* more **frames** then).
- *To and fro* decides how many **frames** there are, how fast they run and how the camera moves. *Morph* makes one
  picture for each of its cameras.
- **Your own heads:** link heads from photos or files to *triplane*, *second* and *third* of *Morph*.
- Heads half-way look like a veil? Set **mix** to *styles*.
""",
        (
            (
                (GENERATOR,),
                (stage("Heads", HEAD, "sample"), stage("Camera", VIEW, "orbit"), stage("Frames", VIEW, "morph=0")),
                (stage("The video", RESULT, "save_video=0"), stage("Together", VIEW, "video=0")),
            ),
        ),
        sizes={"save_video": (480, 590)},
    ),
    "10_coloured_mesh": Plan(
        f"""# Coloured mesh

Press **Run**: the photo becomes a head, the head a mesh for viewers, Blender, games and printing: upright, facing the
front, in metres.

- *Save with colours* writes a GLB to **output/dualenc**. **format** *ply* is for mesh tools.
- *Look at it* shows the file: drag to turn it.
- *ComfyUI's own* is the same mesh by its Save node (older ComfyUI: the shape only).
- **For games and the web:** in *Head to mesh* set **triangles** to 10000 and **texture** to 1024.
- **Finer:** **resolution** 256. Ripples go away with **smooth** 3.
{_YOUR_PHOTO}{_REAL_WEIGHTS}""",
        (
            (
                (PHOTO,),
                (FACE,),
                (stage("The mesh", RESULT, "preview_mesh"),),
                (stage("By ComfyUI", RESULT, "save_shape"),),
            ),
            (
                (ALL_MODELS,),
                (stage("Head", HEAD, "invert"),),
                (stage("Mesh", HEAD, "mesh=0"), stage("Save", VIEW, "save_mesh=0")),
            ),
        ),
        sizes={"preview_mesh": (340, 620), "save_shape": (340, 620)},
    ),
    "11_optimize_and_compare": Plan(
        f"""# Optimize and compare

Press **Run** and wait a minute or two: the same photo by both encoders, by **W+** optimisation, and the joined head
**refined** on the photo.

- *W+* needs no encoder: only the generator. More **steps** come closer; the published setting is 500.
- *Refine* should beat the joined head from the photo's side and keep what the photo does not show.
- For the closest likeness set *mode* of W+ to **PTI**: then its **generator** output is a tuned copy, which alone can
  render that head. It is linked already.
{_YOUR_PHOTO}{_REAL_WEIGHTS}
The report below each optimize node says which measure of likeness was used. LPIPS needs a file of weights: the report
says where to get it, and into which folder it goes.
""",
        (
            (
                (PHOTO,),
                (
                    stage("From the photo's side", RESULT, "save_front"),
                    stage("From behind", RESULT, "save_behind"),
                ),
                (stage("Numbers", RESULT, "compare_invert compare_search compare_improve"),),
            ),
            (
                (FACE,),
                (MODELS,),
                (stage("Encoders", HEAD, "invert"),),
                (stage("Optimize", HEAD, "search=0 improve=0"),),
            ),
            (
                (stage("Views from behind", VIEW, "camera=0 render_invert=1 render_search=1 render_improve=1"),),
                (stage("Side by side", VIEW, "front_1=0 front=0 behind_1=1 behind=1"),),
            ),
        ),
        sizes=STRIPS | {"save_front": (660, 300)},
    ),
    "12_real_panohead": Plan(
        """# The real PanoHead

PanoHead's own weights, from the download to a turntable.

1. Download **easy-khair-180-gpc0.8-trans10-025000.pkl** from the
   [models folder of PanoHead](https://drive.google.com/drive/folders/1m517-F1NCTGA159dePs5R5qj02svtX1_?usp=sharing).
   Treat the weights, and what you make with them, as non-commercial.
2. Put it into **models/dualenc** of this ComfyUI and press **R**.
3. Press **Run**. *Convert PanoHead* makes a safe file of it once; nothing in the download is executed.

Nobody has published encoders for these weights yet, so *Photo to head, without encoders* searches for the head
(**steps**) and then tunes a copy of PanoHead to the photo (**tune_steps**). That is slow: the progress bar of the first
steps shows how long your computer will take; without a graphics card count with hours. For a first look set both to 50;
the published setting is 500 each.

**Your own photo:** choose it in *Photo*. Box, mesh and axes below *Align the portrait* should sit on the face.
""",
        (
            (
                (PHOTO,),
                (FACE,),
                (stage("The video", RESULT, "save_video"),),
            ),
            (
                (stage("PanoHead", MODEL, "convert=0 load_generator=1"),),
                (stage("Optimize", HEAD, "optimize=0"), stage("The head", VIEW, "preview=0")),
                (stage("Frames", VIEW, "orbit=0 render=0"), stage("Together", VIEW, "video=0")),
            ),
        ),
        sizes=VIDEO,
    ),
    "13_head_into_3d": Plan(
        f"""# Head into ComfyUI's 3D nodes

Needs a ComfyUI with mesh and splat nodes (0.33 or newer). Press **Run**: the photo becomes a head, the head a mesh and
Gaussian splats that ComfyUI's own nodes work on.

- **Mesh:** *Fewer triangles* is ComfyUI's node; *Save the mesh* is ours and writes what came out of it, in colour.
  Other mesh nodes (Fill Holes, Unwrap Mesh, Rotate Mesh …) go between *Head to mesh* and *Save the mesh*.
- **Splats:** as soft as the picture, hair too. *Head to splats* saves them; **save** *spz* is a seventh as large.
  Other splat nodes (Transform Splat, Merge Splat, Extract Mesh …) take its first output.
- **Camera:** drag on the pad of *Camera for all*. The same camera draws head, mesh and splats: compare the three
  pictures. Beside them turn mesh and splats with the mouse.
{_YOUR_PHOTO}{_REAL_WEIGHTS}""",
        (
            (
                (PHOTO,),
                (FACE,),
                (stage("The same view", RESULT, "save_head save_picture save_splats"),),
                (stage("Turn them", RESULT, "preview_mesh preview_splats"),),
            ),
            (
                (ALL_MODELS,),
                (stage("Head", HEAD, "invert=0"), stage("Camera", VIEW, "camera=0 render=0")),
                (
                    stage("Mesh", HEAD, "mesh=0 decimate=0 render_mesh=0 save_mesh=0"),
                    stage("Splats", HEAD, "splats=0 render_splats=0"),
                ),
            ),
        ),
        sizes=dict.fromkeys(("save_head", "save_picture", "save_splats"), PICTURE)
        | {"preview_mesh": (310, 410), "preview_splats": (310, 500)},
    ),
    "14_video_frames": Plan(
        f"""# Frames of a video

Press **Run**: every frame becomes a head, all of them are drawn from another side, and together they are a video again.
Here the frames are the photo, a frame without a face, and the photo again.

- **Your own video:** put **Load Video** and **Get Video Components** in place of *Frames*, link its images to
  *Align every frame* and its fps to *Frames to video*. Begin with twenty frames: every one is a head in memory.
- **on_no_face** in *Align every frame*: *skip* leaves such frames out, and **kept** says which remain; *previous
  camera* keeps the length of the video and crops as in the frame before; *error* stops.
- **Camera:** drag on the pad of *From another side*.
{_REAL_WEIGHTS}""",
        (
            (
                (PHOTO,),
                (stage("Faces", INPUT, "align"),),
                (stage("The video", RESULT, "save_video"),),
            ),
            (
                (stage("Frames", INPUT, "blank=0 first_frames=0 frames=0"),),
                (MODELS,),
                (stage("Heads", HEAD, "invert"),),
                (stage("Camera", VIEW, "camera=0"), stage("Views", VIEW, "render=0 video=0")),
            ),
        ),
        # Its report has a part for every frame.
        sizes=VIDEO | {"align": (310, 1000)},
    ),
    "15_direct_a_head": Plan(
        f"""# Direct a head

Press **Run**: the head of the photo smiles, is older, and has its light from another side.

- *Direct the head* has a slider for what the generator knows of people. **0 = as in the photo.** It shows the head from
  four sides; run again after every change: only this is done anew.
- **hair_style**, **eye_colour**, **glasses** are choices; **hair_colour** counts as far as **hair_colour_amount** says.
- **neutral** puts expression or light at rest first, for example before a mesh.
- The sliders add up. If the face breaks, ask for less at once.
{_YOUR_PHOTO}
It works with generators of people, as the bundled one is. For others make a file of directions first: see the help of
*Direct the head*.
""",
        (
            (
                (PHOTO,),
                (stage("Sliders", HEAD, "direct"),),
                (stage("Directed", RESULT, "save"),),
                (stage("Before", RESULT, "preview_before"),),
            ),
            (
                (FACE,),
                (MODELS,),
                (stage("Head", HEAD, "invert"),),
                (stage("Views", VIEW, "orbit=0 render=0 render_before=0"),),
            ),
        ),
        App(
            (
                ("load_photo", "image", "Photo"),
                ("direct", "smile_open", "Smile"),
                ("direct", "age", "Older, younger (years)"),
                ("direct", "gaze_yaw", "Eyes to the side (°)"),
                ("direct", "hair_style", "Hair"),
                ("direct", "hair_colour", "Colour of the hair"),
                ("direct", "hair_colour_amount", "How much of it"),
                ("direct", "beard_full", "Beard"),
                ("direct", "glasses", "Glasses"),
                ("direct", "light_yaw", "Light from the side (°)"),
            ),
            # Which of several results App mode shows large is not in our hands.
            ("save",),
        ),
        sizes={"save": (480, 530), "preview_before": (310, 340)},
    ),
    "16_expression_and_light": Plan(
        f"""# Expression and light from another photo

Press **Run**: the head of the first photo takes over the expression and the light of the second.

1. Both photos become heads.
2. *Read expression and light* estimates what the second one shows. **hair** and **accessories** lend those too.
3. *Take them over* puts the first head at rest (**neutral**), then gives it what was lent. Its sliders add to that.

- **Another lender:** choose it in *Photo that lends*.
- Drag on the pad of *Camera* for another side.
- Shadows that the photo itself shows stay: they are details of the photo, and no light of the generator's.
{_YOUR_PHOTO}""",
        (
            (
                (PHOTO,),
                (stage("Lender", INPUT, "load_lender"),),
                (stage("The result", RESULT, "save"),),
                (stage("Before, and the lender", RESULT, "preview_before=0 preview_lender=0"),),
            ),
            (
                (stage("Both faces", INPUT, "align_photo=0 align_lender=0"),),
                (MODELS,),
                (stage("Both heads", HEAD, "invert_photo=0 invert_lender=0"), stage("What is lent", HEAD, "lend=0")),
                (stage("Direct", HEAD, "direct"),),
            ),
            (
                (stage("Camera", VIEW, "camera"),),
                (stage("Views", VIEW, "render_before=0 render_lender=1 render=2"),),
            ),
        ),
        sizes={"save": (500, 560)},
    ),
    "17_turn_and_smile": Plan(
        f"""# A head that turns and smiles

Press **Run**: the head of the photo turns, looks around and smiles, as a video of three seconds.

- *Turn and smile* has the **tracks**: for each name keys of seconds and value, 0 = as in the photo. **camera.yaw**
  turns the camera; all other names are those of the sliders of Attributes (workflow 15).
- A third entry of a key says how it is reached: linear, in, out, hold. Without it the way is smooth.
- **mouths** lets it talk: a line for each mouth, such as: a 0.2 0.35
- Link DualEnc Orbit to **camera** for a whole turn. **quality** *draft* is faster while you try.
{_YOUR_PHOTO}""",
        (
            (
                (PHOTO,),
                (FACE,),
                (stage("The video", RESULT, "save_video"),),
            ),
            (
                (ALL_MODELS,),
                (stage("Head", HEAD, "invert"),),
                (stage("Animation", VIEW, "animate=0"), stage("Together", VIEW, "video=0")),
            ),
        ),
        sizes=VIDEO,
    ),
}
