from pathlib import Path

from django.conf import settings
from django.db import migrations


def keep_relative(apps, schema_editor):
    """Folders under HONE_HOME are remembered by where they lie in it, so that they may move with it."""
    home = Path(settings.HONE_HOME)
    for model in apps.get_model("training", "BaseModel").objects.exclude(folder=""):
        if Path(model.folder).is_relative_to(home):
            model.folder = str(Path(model.folder).relative_to(home))
            model.save(update_fields=["folder"])


class Migration(migrations.Migration):
    dependencies = [("training", "0014_preparation")]
    operations = [migrations.RunPython(keep_relative, migrations.RunPython.noop)]
